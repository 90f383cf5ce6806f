package server

import (
	"context"

	"k3s-ha/lab/k3s/internal/token"
)

// rotateToken makes a new password the cluster's: in this server's files and in the datastore. As in k3s this server's
// port 6443 takes the old one until it is restarted, and the other servers know nothing of it.
func (s *server) rotateToken(ctx context.Context, newToken string) error {
	if newToken == "" {
		newToken = token.Random()
	}
	parsed, err := token.Parse(newToken)
	if err != nil {
		return err
	}
	old := s.tokens.server
	s.tokens.server = parsed.Password
	if err := s.writePasswords(s.tokens); err != nil {
		return err
	}
	if err := s.writeServerToken(s.tokens, s.cas.server.PEM); err != nil {
		return err
	}
	if err := s.store.RotateBootstrap(ctx, old, parsed.Password); err != nil {
		return err
	}
	data, err := s.readBootstrap()
	if err != nil {
		return err
	}
	return s.store.SaveBootstrap(ctx, parsed.Password, data, true)
}
