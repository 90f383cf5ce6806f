package supervisor

import (
	"context"
	"crypto/subtle"
	"crypto/x509"
	"encoding/csv"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
)

// Groups that the routes ask for.
const (
	GroupServer = "k3s:server"
	GroupAgent  = "k3s:agent"
	GroupNodes  = "system:nodes"
)

// User is who makes a request.
type User struct {
	Name   string
	Groups []string
}

// NodeName returns the node of a kubelet's certificate, "" for others.
func (u User) NodeName() string {
	if n, ok := strings.CutPrefix(u.Name, "system:node:"); ok && slices.Contains(u.Groups, GroupNodes) {
		return n
	}
	return ""
}

type userKey struct{}

func userOf(ctx context.Context) User { u, _ := ctx.Value(userKey{}).(User); return u }

// Passwords is the file cred/passwd: lines of password,user,uid,group. A user has one password: the last line's.
type Passwords map[string][]string

// LoadPasswords reads the file, as k3s does once at its start.
func LoadPasswords(file string) (Passwords, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	rows, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	p := Passwords{}
	for _, row := range rows {
		if len(row) < 3 {
			return nil, fmt.Errorf("%s: a line has %d columns", file, len(row))
		}
		p[row[1]] = row
	}
	return p, nil
}

func (p Passwords) lookup(user, password string) (User, error) {
	r, ok := p[user]
	if !ok || subtle.ConstantTimeCompare([]byte(r[0]), []byte(password)) != 1 {
		return User{}, errors.New("invalid username/password combination")
	}
	u := User{Name: user}
	if len(r) > 3 {
		u.Groups = strings.Split(r[3], ",")
	}
	return u, nil
}

// authenticate returns the user; false without credentials; an error for wrong ones.
func (s *Server) authenticate(r *http.Request) (User, bool, error) {
	if name, password, ok := r.BasicAuth(); ok {
		u, err := s.Passwords.lookup(name, password)
		return u, err == nil, err
	}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		_, err := leaf.Verify(x509.VerifyOptions{
			Roots: s.ClientCA, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		})
		if err != nil {
			return User{}, false, err
		}
		return User{Name: leaf.Subject.CommonName, Groups: leaf.Subject.Organization}, true, nil
	}
	if r.Header.Get("Authorization") != "" {
		return User{}, false, errors.New("unsupported authorization")
	}
	return User{}, false, nil
}

// require lets through users of one of the groups: no credentials 403, wrong ones 401, other groups 403.
func (s *Server) require(groups ...string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			u, ok, err := s.authenticate(r)
			if err != nil {
				SendError(w, http.StatusUnauthorized, errors.New("not authorized"))
				return
			}
			if !ok || !slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(u.Groups, g) }) {
				SendError(w, http.StatusForbidden, errors.New("forbidden"))
				return
			}
			next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), userKey{}, u)))
		})
	}
}

// localOr lets loopback clients through and asks the others for a group.
func (s *Server) localOr(group string) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		guarded := s.require(group)(next)
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			host, _, _ := net.SplitHostPort(r.RemoteAddr)
			if host == "127.0.0.1" || host == "::1" {
				next.ServeHTTP(w, r)
				return
			}
			guarded.ServeHTTP(w, r)
		})
	}
}

// maxInFlight answers 429 beyond a number of requests at once: one count for GET and HEAD, one for the rest.
func maxInFlight(reads, writes int) func(http.Handler) http.Handler {
	readSlots, writeSlots := make(chan struct{}, reads), make(chan struct{}, writes)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			slots := writeSlots
			if r.Method == http.MethodGet || r.Method == http.MethodHead {
				slots = readSlots
			}
			select {
			case slots <- struct{}{}:
				defer func() { <-slots }()
				next.ServeHTTP(w, r)
			default:
				SendError(w, http.StatusTooManyRequests, errors.New("Too many requests, please try again later."))
			}
		})
	}
}
