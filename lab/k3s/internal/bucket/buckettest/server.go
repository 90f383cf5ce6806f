// Package buckettest runs the lab's S3 server (../../../../s3) for tests, with TLS and a CA of its own.
package buckettest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"k3s-ha/lab/k3s/internal/bucket"
	"k3s-ha/lab/k3s/internal/pki"
)

// Build makes the server's binary below a folder and returns its path; it needs the Go module proxy once.
func Build(folder string) (string, error) {
	_, here, _, _ := runtime.Caller(0)
	binary := filepath.Join(folder, "versitygw")
	out, err := exec.Command(filepath.Join(filepath.Dir(here), "../../../../s3/build.sh"), binary).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return binary, nil
}

// Server is a running one with the bucket `backups`.
type Server struct {
	// Settings are those of a client that may do everything; Insecure is set for one without TLS.
	bucket.Settings
	// Dir holds the bucket's objects as files.
	Dir string
	t   testing.TB
	cmd *exec.Cmd
}

// Start runs the server on a free port of loopback until the test ends.
func Start(t testing.TB, binary string, insecure bool) *Server {
	t.Helper()
	folder := t.TempDir()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	check(t, err)
	s := &Server{t: t, Dir: filepath.Join(folder, "data/backups"), Settings: bucket.Settings{
		Endpoint: free.Addr().String(), AccessKey: "lab-access", SecretKey: "lab-secret-key", Region: "us-east-1", Bucket: "backups",
		Insecure: insecure, Retention: 5, Timeout: 20 * time.Second,
	}}
	free.Close()
	check(t, os.MkdirAll(filepath.Join(folder, "data"), 0o700))
	check(t, os.MkdirAll(filepath.Join(folder, "meta"), 0o700))
	args := []string{"--quiet", "--port", s.Endpoint}
	if !insecure {
		ca, err := pki.EnsureCA(filepath.Join(folder, "ca"), "buckettest")
		check(t, err)
		check(t, ca.EnsureLeaf(filepath.Join(folder, "leaf"), pki.Spec{
			CommonName: "s3", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Usages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}))
		s.EndpointCA = base64.StdEncoding.EncodeToString(ca.PEM)
		args = append(args, "--cert", filepath.Join(folder, "leaf.crt"), "--key", filepath.Join(folder, "leaf.key"))
	}
	var log bytes.Buffer
	s.cmd = exec.Command(binary, append(args, "posix", "--sidecar", filepath.Join(folder, "meta"), filepath.Join(folder, "data"))...)
	s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY_ID="+s.AccessKey, "ROOT_SECRET_ACCESS_KEY="+s.SecretKey)
	s.cmd.Stdout, s.cmd.Stderr = &log, &log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	check(t, s.cmd.Start())
	t.Cleanup(s.Stop)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		c, err := net.Dial("tcp", s.Endpoint)
		if err == nil {
			c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the S3 server does not listen: %v", err)
		}
	}
	s.makeBucket()
	return s
}

// makeBucket does with its own client what the code under test never does.
func (s *Server) makeBucket() {
	s.t.Helper()
	transport, err := minio.DefaultTransport(!s.Insecure)
	check(s.t, err)
	if s.EndpointCA != "" {
		pem, err := base64.StdEncoding.DecodeString(s.EndpointCA)
		check(s.t, err)
		transport.TLSClientConfig.RootCAs = pki.Pool(pem)
	}
	client, err := minio.New(s.Endpoint, &minio.Options{
		Creds: credentials.NewStaticV4(s.AccessKey, s.SecretKey, ""), Secure: !s.Insecure, Region: s.Region, Transport: transport,
	})
	check(s.t, err)
	check(s.t, client.MakeBucket(context.Background(), s.Bucket, minio.MakeBucketOptions{}))
}

// Stop ends the server: from then on nothing listens.
func (s *Server) Stop() {
	if s.cmd.ProcessState == nil {
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
