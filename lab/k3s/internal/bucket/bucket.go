// Package bucket keeps etcd snapshots in an S3 bucket as k3s does (k3s 1.36.3, pkg/etcd/s3), by the library that k3s uses.
package bucket

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/sirupsen/logrus"
)

// metadataDir holds what k3s keeps beside a snapshot, under the snapshot's name. The stand-in writes none and removes it.
const metadataDir = ".metadata"

// Settings are the etcd-s3 keys; `k3s etcd-snapshot` sends its own to the server.
type Settings struct {
	Endpoint      string        `json:"endpoint"`
	EndpointCA    string        `json:"endpointCA,omitempty"` // base64 of PEM, or a file; several with blanks between
	SkipSSLVerify bool          `json:"skipSSLVerify,omitempty"`
	Insecure      bool          `json:"insecure,omitempty"`
	AccessKey     string        `json:"accessKey,omitempty"`
	SecretKey     string        `json:"secretKey,omitempty"`
	SessionToken  string        `json:"sessionToken,omitempty"`
	Bucket        string        `json:"bucket"`
	BucketLookup  string        `json:"bucketLookup,omitempty"` // auto, dns, path
	Region        string        `json:"region"`
	Folder        string        `json:"folder,omitempty"`
	Retention     int           `json:"retention"` // below 1: nothing is pruned
	Timeout       time.Duration `json:"timeout"`   // of one operation
}

// Owner is what an object says of where it comes from.
type Owner struct {
	ClusterID string
	NodeName  string
	TokenHash string
}

// Object is one snapshot in the bucket.
type Object struct {
	Name     string
	Location string // s3://BUCKET/FOLDER/NAME
	Size     int64
	Modified time.Time
}

// Bucket is an opened one: it was there, and the credentials were good for it.
type Bucket struct {
	Settings
	client *minio.Client
}

// Open makes sure that the bucket is there.
// Errors: settings that cannot be right, an endpoint that does not answer, refused credentials, no such bucket.
func Open(ctx context.Context, s Settings) (*Bucket, error) {
	if s.Bucket == "" {
		return nil, errors.New("s3 bucket name was not set")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	if s.SkipSSLVerify {
		transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	} else if s.EndpointCA != "" {
		pool, err := loadCAs(s.EndpointCA)
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	}
	// k3s asks its cloud for credentials at last, which the lab has not.
	creds := credentials.NewChainCredentials([]credentials.Provider{
		&credentials.Static{Value: credentials.Value{
			AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey, SessionToken: s.SessionToken, SignerType: credentials.SignatureV4,
		}},
		&credentials.FileAWSCredentials{},
	})
	lookup := minio.BucketLookupAuto
	switch strings.ToLower(s.BucketLookup) {
	case "dns":
		lookup = minio.BucketLookupDNS
	case "path":
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(s.Endpoint, &minio.Options{
		Creds: creds, Secure: !s.Insecure, Region: s.Region, Transport: transport, BucketLookup: lookup,
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	exists, err := client.BucketExists(ctx, s.Bucket)
	if err != nil {
		return nil, fmt.Errorf("failed to test for existence of bucket %s: %w", s.Bucket, err)
	}
	if !exists {
		return nil, fmt.Errorf("bucket %s does not exist", s.Bucket)
	}
	logrus.Infof("S3 bucket %s exists", s.Bucket)
	return &Bucket{Settings: s, client: client}, nil
}

func loadCAs(list string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	loaded := false
	for _, ca := range strings.Split(list, " ") {
		data, err := base64.StdEncoding.DecodeString(ca)
		if err != nil {
			data, err = os.ReadFile(ca)
		}
		if err != nil {
			return nil, err
		}
		loaded = pool.AppendCertsFromPEM(data) || loaded
	}
	if !loaded {
		return nil, errors.New("no certificates loaded from etcd-s3-endpoint-ca")
	}
	return pool, nil
}

func (b *Bucket) key(name string) string      { return path.Join(b.Folder, name) }
func (b *Bucket) location(key string) string  { return "s3://" + b.Bucket + "/" + key }
func isMetadata(key string) bool              { return path.Base(path.Dir(key)) == metadataDir }
func (b *Bucket) metadata(name string) string { return path.Join(b.Folder, metadataDir, name) }

// Upload puts a snapshot file there under its own name.
func (b *Bucket) Upload(ctx context.Context, file string, owner Owner) (Object, error) {
	name := filepath.Base(file)
	key := b.key(name)
	logrus.Infof("Uploading snapshot to %s", b.location(key))
	opts := minio.PutObjectOptions{
		NumThreads:  2,
		ContentType: "application/octet-stream",
		UserMetadata: map[string]string{
			"K3s-Cluster-Id": owner.ClusterID, "K3s-Node-Name": owner.NodeName, "K3s-Token-Hash": owner.TokenHash,
		},
	}
	if strings.HasSuffix(name, ".zip") {
		opts.ContentType = "application/zip"
	}
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	info, err := b.client.FPutObject(ctx, b.Bucket, key, file, opts)
	return Object{Name: name, Location: b.location(key), Size: info.Size, Modified: time.Now()}, err
}

// Download brings a snapshot into dir and returns its path.
func (b *Bucket) Download(ctx context.Context, name, dir string) (string, error) {
	file := filepath.Join(dir, name)
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	if err := b.client.FGetObject(ctx, b.Bucket, b.key(name), file, minio.GetObjectOptions{}); err != nil {
		return "", err
	}
	return file, os.Chmod(file, 0o600)
}

// List returns the snapshots of the folder, of all servers, oldest first.
func (b *Bucket) List(ctx context.Context) ([]Object, error) { return b.list(ctx, b.Folder) }

func (b *Bucket) list(ctx context.Context, prefix string) ([]Object, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	out := []Object{}
	for info := range b.client.ListObjects(ctx, b.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			return nil, info.Err
		}
		if isMetadata(info.Key) || info.Size == 0 {
			continue
		}
		out = append(out, Object{Name: path.Base(info.Key), Location: b.location(info.Key), Size: info.Size, Modified: info.LastModified})
	}
	slices.SortFunc(out, func(x, y Object) int {
		return cmp.Or(x.Modified.Compare(y.Modified), cmp.Compare(x.Name, y.Name))
	})
	return out, nil
}

// Prune keeps the newest Retention snapshots whose names begin with prefix, those of all servers counted together, and
// returns the names of the removed.
func (b *Bucket) Prune(ctx context.Context, prefix string) ([]string, error) {
	if b.Retention < 1 {
		return nil, nil
	}
	found, err := b.list(ctx, b.key(prefix))
	if err != nil {
		return nil, err
	}
	var removed []string
	for _, old := range found[:max(0, len(found)-b.Retention)] {
		logrus.Infof("Removing S3 snapshot: %s", old.Location)
		// Another server may have been quicker.
		if err := b.Delete(ctx, old.Name); err != nil && !IsNotExist(err) {
			return removed, err
		}
		removed = append(removed, old.Name)
	}
	return removed, nil
}

// Delete removes a snapshot and what belongs to it; one that is not there is an error, see IsNotExist.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, b.Timeout)
	defer cancel()
	_, missing := b.client.StatObject(ctx, b.Bucket, b.key(name), minio.StatObjectOptions{})
	for _, key := range []string{b.key(name), b.metadata(name)} {
		if err := b.client.RemoveObject(ctx, b.Bucket, key, minio.RemoveObjectOptions{}); err != nil {
			return err
		}
	}
	return missing
}

// IsNotExist tells an object that is not there from other failures.
func IsNotExist(err error) bool { return minio.ToErrorResponse(err).StatusCode == http.StatusNotFound }
