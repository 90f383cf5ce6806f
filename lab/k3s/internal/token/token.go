// Package token implements k3s's join tokens: a short form (the password) and a full form
// K10<64 hex: hash of the cluster CA>::<user>:<password>.
package token

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

const prefix = "K10"

// Users that log in with a token: servers always as server, agents always as node, whatever the token says.
const (
	UserServer = "server"
	UserNode   = "node"
)

var (
	full      = regexp.MustCompile(`^K10([0-9a-f]{64})::([^:]*):(.+)$`)
	bootstrap = regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`)
)

// Token is a parsed token; CAHash and User are empty for the short form.
type Token struct {
	CAHash   string
	User     string
	Password string
}

// Parse reads either form. Errors: empty, K10 without the full form, shape of a kubeadm bootstrap token.
func Parse(s string) (Token, error) {
	if m := full.FindStringSubmatch(s); m != nil {
		return Token{CAHash: m[1], User: m[2], Password: m[3]}, nil
	}
	switch {
	case s == "":
		return Token{}, errors.New("token is empty")
	case strings.HasPrefix(s, prefix):
		return Token{}, errors.New("failed to normalize token; must be in format K10<CA-HASH>::<USERNAME>:<PASSWORD> or <PASSWORD>")
	case bootstrap.MatchString(s):
		return Token{}, errors.New("bootstrap tokens are not modelled by this stand-in")
	}
	return Token{Password: s}, nil
}

// Random returns a new password of 32 hex digits, the length k3s generates.
func Random() string {
	b := make([]byte, 16)
	if _, err := rand.Read(b); err != nil {
		panic(err)
	}
	return hex.EncodeToString(b)
}

// Format returns the full form for a CA bundle in PEM.
func Format(caPEM []byte, user, password string) (string, error) {
	h, err := HashCA(caPEM)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s%s::%s:%s", prefix, h, user, password), nil
}

// HashCA returns the SHA-256 of the file's bytes for a single certificate, of the root's DER for a chain.
func HashCA(caPEM []byte) (string, error) {
	var ders [][]byte
	for rest := caPEM; ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		ders = append(ders, b.Bytes)
	}
	data := caPEM
	switch len(ders) {
	case 0:
		return "", errors.New("no certificate in the CA bundle")
	case 1:
	default:
		data = ders[len(ders)-1]
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

// CheckCA compares a token's hash with the CA that a server presents; a short token accepts any.
func (t Token) CheckCA(caPEM []byte) error {
	if t.CAHash == "" {
		return nil
	}
	h, err := HashCA(caPEM)
	if err != nil {
		return err
	}
	if h != t.CAHash {
		return fmt.Errorf("token CA hash does not match the Cluster CA certificate hash: %s != %s", t.CAHash, h)
	}
	return nil
}
