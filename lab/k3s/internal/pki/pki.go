// Package pki creates and renews the certificate files of a k3s node.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	caLife = 10 * 365 * 24 * time.Hour
	// ExpirationDays is the environment variable that gives certificates another life than 365 days, as in k3s (rancher/dynamiclistener).
	ExpirationDays = "CATTLE_NEW_SIGNED_CERT_EXPIRATION_DAYS"
	// RenewWithin is how long before its end a start renews a certificate (k3s: 120 days).
	RenewWithin = 120 * 24 * time.Hour
)

// CA is a certificate authority loaded from two files.
type CA struct {
	Cert *x509.Certificate
	PEM  []byte
	key  crypto.Signer
}

// WriteFile writes atomically with mode 0600 or the one given, creating the folder with mode 0700.
func WriteFile(path string, data []byte, mode os.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := fmt.Sprintf("%s.tmp%d", path, os.Getpid())
	if err := os.WriteFile(tmp, data, mode); err != nil {
		return err
	}
	if err := os.Chmod(tmp, mode); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// EnsureKey returns the private key in a PEM file, made when absent.
func EnsureKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err == nil {
		return ParseKey(data)
	}
	if !os.IsNotExist(err) {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return key, WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), 0o600)
}

// ParseKey reads an EC or PKCS#8 private key.
func ParseKey(data []byte) (crypto.Signer, error) {
	b, _ := pem.Decode(data)
	if b == nil {
		return nil, errors.New("no PEM data in key")
	}
	if k, err := x509.ParseECPrivateKey(b.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(b.Bytes)
	if err != nil {
		return nil, err
	}
	s, ok := k.(crypto.Signer)
	if !ok {
		return nil, errors.New("key cannot sign")
	}
	return s, nil
}

// EnsureCA loads BASE.crt and BASE.key, making a self-signed authority of 10 years when absent.
func EnsureCA(base, commonName string) (*CA, error) {
	if _, err := os.Stat(base + ".crt"); os.IsNotExist(err) {
		key, err := EnsureKey(base + ".key")
		if err != nil {
			return nil, err
		}
		now := time.Now()
		t := &x509.Certificate{
			SerialNumber:          serial(),
			Subject:               pkix.Name{CommonName: fmt.Sprintf("%s@%d", commonName, now.Unix())},
			NotBefore:             now.Add(-time.Minute),
			NotAfter:              now.Add(caLife),
			KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
			BasicConstraintsValid: true,
			IsCA:                  true,
		}
		der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
		if err != nil {
			return nil, err
		}
		if err := WriteFile(base+".crt", certPEM(der), 0o644); err != nil {
			return nil, err
		}
	}
	return LoadCA(base)
}

// LoadCA loads BASE.crt and BASE.key.
func LoadCA(base string) (*CA, error) {
	data, err := os.ReadFile(base + ".crt")
	if err != nil {
		return nil, err
	}
	certs, err := ParseCerts(data)
	if err != nil {
		return nil, fmt.Errorf("%s.crt: %w", base, err)
	}
	keyData, err := os.ReadFile(base + ".key")
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(keyData)
	if err != nil {
		return nil, fmt.Errorf("%s.key: %w", base, err)
	}
	return &CA{Cert: certs[0], PEM: data, key: key}, nil
}

// leafLife is how long a certificate is good for that is made now; like k3s it takes no notice of what is no number of days.
func leafLife() time.Duration {
	days, err := strconv.Atoi(os.Getenv(ExpirationDays))
	if err != nil || days < 1 {
		days = 365
	}
	return time.Duration(days) * 24 * time.Hour
}

// Spec is what a certificate is issued for.
type Spec struct {
	CommonName    string
	Organizations []string
	DNS           []string
	IPs           []net.IP
	Usages        []x509.ExtKeyUsage
}

// Issue signs a certificate for a public key; the result is the certificate followed by the CA, in PEM.
func (ca *CA) Issue(s Spec, public crypto.PublicKey) ([]byte, error) {
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      pkix.Name{CommonName: s.CommonName, Organization: s.Organizations},
		NotBefore:    now.Add(-time.Minute),
		NotAfter:     now.Add(leafLife()),
		KeyUsage:     x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  s.Usages,
		DNSNames:     s.DNS,
		IPAddresses:  s.IPs,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, ca.Cert, public, ca.key)
	if err != nil {
		return nil, err
	}
	return append(certPEM(der), ca.PEM...), nil
}

// EnsureLeaf writes BASE.crt and BASE.key unless they are there, signed by this CA, cover the names and end in more
// than RenewWithin.
func (ca *CA) EnsureLeaf(base string, s Spec) error {
	key, err := EnsureKey(base + ".key")
	if err != nil {
		return err
	}
	if data, err := os.ReadFile(base + ".crt"); err == nil && ca.covers(data, s, key.Public()) {
		return nil
	}
	data, err := ca.Issue(s, key.Public())
	if err != nil {
		return err
	}
	return WriteFile(base+".crt", data, 0o644)
}

func (ca *CA) covers(data []byte, s Spec, public crypto.PublicKey) bool {
	certs, err := ParseCerts(data)
	if err != nil {
		return false
	}
	c := certs[0]
	if c.CheckSignatureFrom(ca.Cert) != nil || time.Until(c.NotAfter) < RenewWithin || c.Subject.CommonName != s.CommonName {
		return false
	}
	if k, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !k.Equal(public) {
		return false
	}
	for _, d := range s.DNS {
		if c.VerifyHostname(d) != nil {
			return false
		}
	}
	for _, ip := range s.IPs {
		if c.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

// NewRequest returns a DER certificate request for a key; the server decides the subject.
func NewRequest(key crypto.Signer) ([]byte, error) {
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
}

// ParseCerts reads all certificates of a PEM bundle, at least one.
func ParseCerts(data []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := bytes.TrimSpace(data); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if b.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate found")
	}
	return out, nil
}

// Pool returns a pool of a PEM bundle's certificates.
func Pool(data []byte) *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(data)
	return p
}

func certPEM(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 62))
	if err != nil {
		panic(err)
	}
	return n.Add(n, big.NewInt(1))
}
