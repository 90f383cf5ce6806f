package bucket

import (
	"k3s-ha/lab/k3s/internal/config"
)

// Keys are the settings in a k3s configuration that the stand-in knows; they may also stand on the
// command line of `k3s etcd-snapshot`, there also without etcd-.
var Keys = []string{"etcd-s3", "etcd-s3-endpoint", "etcd-s3-endpoint-ca", "etcd-s3-skip-ssl-verify", "etcd-s3-insecure",
	"etcd-s3-access-key", "etcd-s3-secret-key", "etcd-s3-session-token", "etcd-s3-bucket", "etcd-s3-bucket-lookup-type",
	"etcd-s3-region", "etcd-s3-folder", "etcd-s3-retention", "etcd-s3-timeout"}

// FromConfig reads them; nil without etcd-s3. Unless the bucket has a retention of its own, that of the local snapshots is
// its, where one was given.
func FromConfig(s *config.Settings, retention int, retentionGiven bool) *Settings {
	if !s.Bool("etcd-s3") {
		return nil
	}
	if s.IsSet("etcd-s3-retention") || !retentionGiven {
		retention = s.Int("etcd-s3-retention")
	}
	return &Settings{
		Endpoint: s.String("etcd-s3-endpoint"), EndpointCA: s.String("etcd-s3-endpoint-ca"), SkipSSLVerify: s.Bool("etcd-s3-skip-ssl-verify"),
		Insecure: s.Bool("etcd-s3-insecure"), AccessKey: s.String("etcd-s3-access-key"), SecretKey: s.String("etcd-s3-secret-key"),
		SessionToken: s.String("etcd-s3-session-token"), Bucket: s.String("etcd-s3-bucket"), BucketLookup: s.String("etcd-s3-bucket-lookup-type"),
		Region: s.String("etcd-s3-region"), Folder: s.String("etcd-s3-folder"), Retention: retention, Timeout: s.Duration("etcd-s3-timeout"),
	}
}
