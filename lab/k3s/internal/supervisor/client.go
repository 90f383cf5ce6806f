package supervisor

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/token"
)

const clientTimeout = 10 * time.Second

// ErrUnauthorized and ErrForbidden are wrapped by errors of requests answered so.
var (
	ErrUnauthorized = errors.New("401 Unauthorized")
	ErrForbidden    = errors.New("403 Forbidden")
)

var warnNoHash sync.Once

// Client talks to a supervisor with a token, and with the kubelet's certificate when there is one.
type Client struct {
	URL      string
	CAPEM    []byte
	Timeout  time.Duration // of a request; 0: 10 s
	user     string
	password string
	certFile string
	keyFile  string
}

// Connect fetches /cacerts and checks it against the token's hash; a token without one trusts what it gets. A CA in
// knownCA (a file) is used instead, without asking, unless the token's hash is of another one.
func Connect(ctx context.Context, serverURL, tok, user string, knownCA ...string) (*Client, error) {
	u, err := url.Parse(serverURL)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("invalid server url, failed to parse: %s", serverURL)
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("only https:// URLs are supported, invalid scheme: %s", serverURL)
	}
	t, err := token.Parse(tok)
	if err != nil {
		return nil, err
	}
	c := &Client{URL: strings.TrimSuffix(serverURL, "/"), user: user, password: t.Password}
	for _, f := range knownCA {
		if ca, err := os.ReadFile(f); err == nil && t.CheckCA(ca) == nil {
			c.CAPEM = ca
			return c, nil
		}
	}
	insecure := &http.Client{Timeout: clientTimeout, Transport: &http.Transport{
		// The CA is what this request is for; the token's hash decides whether it is the right one.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL+"/cacerts", nil)
	if err != nil {
		return nil, err
	}
	data, err := do(insecure, req)
	if err != nil {
		return nil, fmt.Errorf("failed to get CA certs: %w", err)
	}
	if err := t.CheckCA(data); err != nil {
		return nil, err
	}
	if _, err := pki.ParseCerts(data); err != nil {
		return nil, err
	}
	if t.CAHash == "" {
		warnNoHash.Do(func() {
			logrus.Warnf("Cluster CA certificate is not trusted by the host CA bundle, but the token does not include a CA hash. Use the full token from the server's node-token file to enable Cluster CA validation.")
		})
	}
	c.CAPEM = data
	return c, nil
}

// WithCertificate makes requests with a client certificate instead of the password when both files can be loaded.
func (c *Client) WithCertificate(certFile, keyFile string) { c.certFile, c.keyFile = certFile, keyFile }

func (c *Client) http(withCert bool) (*http.Client, bool) {
	cfg := &tls.Config{RootCAs: pki.Pool(c.CAPEM)}
	used := false
	if withCert && c.certFile != "" {
		if pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile); err == nil {
			cfg.Certificates = []tls.Certificate{pair}
			used = true
		}
	}
	return &http.Client{Timeout: cmp.Or(c.Timeout, clientTimeout), Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}, used
}

func do(h *http.Client, req *http.Request) ([]byte, error) {
	resp, err := h.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		return body, nil
	case http.StatusUnauthorized:
		err = ErrUnauthorized
	case http.StatusForbidden:
		err = ErrForbidden
	default:
		err = errors.New(resp.Status)
	}
	var status struct{ Message string }
	if json.Unmarshal(body, &status) == nil && status.Message != "" {
		return nil, fmt.Errorf("%s: %w: %s", req.URL, err, status.Message)
	}
	return nil, fmt.Errorf("%s: %w", req.URL, err)
}

// Do makes a request. With a certificate that is refused (its Node was deleted) the password is tried.
func (c *Client) Do(ctx context.Context, method, path string, header http.Header, body []byte) ([]byte, error) {
	for _, withCert := range []bool{true, false} {
		h, used := c.http(withCert)
		if withCert && !used {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, method, c.URL+path, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		for k, v := range header {
			req.Header[k] = v
		}
		if !used {
			req.SetBasicAuth(c.user, c.password)
		}
		data, err := do(h, req)
		if used && errors.Is(err, ErrUnauthorized) {
			logrus.Infof("Node authorization rejected, retrying without client certificate authentication")
			continue
		}
		return data, err
	}
	return nil, ErrUnauthorized
}

// Get makes a GET request.
func (c *Client) Get(ctx context.Context, path string) ([]byte, error) {
	return c.Do(ctx, http.MethodGet, path, nil, nil)
}

// Hold opens /v1-k3s/connect at an address (host:port) and returns when the connection ends.
func (c *Client) Hold(ctx context.Context, address string, up func()) error {
	h, used := c.http(true)
	if !used {
		return os.ErrNotExist
	}
	h.Timeout = 0
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/v1-k3s/connect", nil)
	if err != nil {
		return err
	}
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	up()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
