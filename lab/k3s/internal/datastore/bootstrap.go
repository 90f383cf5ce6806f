package datastore

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/lease"
	"go.etcd.io/etcd/server/v3/storage/backend"
	"go.etcd.io/etcd/server/v3/storage/mvcc"
	"go.etcd.io/etcd/server/v3/storage/schema"
	"go.uber.org/zap"

	"k3s-ha/lab/k3s/internal/pki"
)

// The cluster's CAs lie in the datastore, encrypted with the token, under a key that depends on the token. A snapshot restored
// on a new host therefore needs the token of its time.
const bootstrapPrefix = "/bootstrap/"

var errOtherToken = errors.New("bootstrap data already found and encrypted with different token")

func quietLogger() *zap.Logger { return zap.NewNop() }

func bootstrapKey(password string) string {
	sum := sha256.Sum256([]byte(password))
	return bootstrapPrefix + hex.EncodeToString(sum[:])[:12]
}

// Store is a client to the cluster's datastore: etcd, or SQLite through kine, which knows a few forms of requests only.
type Store struct{ Client *clientv3.Client }

var (
	errNoBootstrap = errors.New("no bootstrap data found in datastore - check server token value and verify datastore integrity")
	errKeyExists   = errors.New("key exists")
)

// find returns the data's key, nil when there is none. Errors: it is there under another token.
func find(list []*mvccpb.KeyValue, password string) (*mvccpb.KeyValue, error) {
	for _, kv := range list {
		if string(kv.Key) == bootstrapKey(password) {
			return kv, nil
		}
	}
	if len(list) > 0 {
		return nil, errOtherToken
	}
	return nil, nil
}

func (s Store) bootstrapKeys(ctx context.Context) ([]*mvccpb.KeyValue, error) {
	r, err := s.Client.Get(ctx, bootstrapPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	return r.Kvs, nil
}

func (s Store) create(ctx context.Context, key, value string) error {
	r, err := s.Client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(clientv3.OpPut(key, value)).Commit()
	if err == nil && !r.Succeeded {
		err = errKeyExists
	}
	return err
}

// SaveBootstrap stores the data; data that is there already stays unless override is set. Errors: it is there under
// another token.
func (s Store) SaveBootstrap(ctx context.Context, password string, data []byte, override bool) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	list, err := s.bootstrapKeys(ctx)
	if err != nil {
		return err
	}
	old, err := find(list, password)
	if err != nil || (old != nil && !override) {
		return err
	}
	sealed, err := seal(password, data)
	if err != nil {
		return err
	}
	key := bootstrapKey(password)
	if old == nil {
		return s.create(ctx, key, sealed)
	}
	_, err = s.Client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", old.ModRevision)).
		Then(clientv3.OpPut(key, sealed)).Else(clientv3.OpGet(key)).Commit()
	return err
}

// LoadBootstrap returns the stored data, nil when there is none.
func (s Store) LoadBootstrap(ctx context.Context, password string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	list, err := s.bootstrapKeys(ctx)
	if err != nil {
		return nil, err
	}
	kv, err := find(list, password)
	if err != nil || kv == nil {
		return nil, err
	}
	return unseal(password, string(kv.Value))
}

// RotateBootstrap encrypts the data with a new token and forgets the old one. As in k3s it is no error that nothing lies
// under the old one.
func (s Store) RotateBootstrap(ctx context.Context, oldPassword, newPassword string) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	list, err := s.bootstrapKeys(ctx)
	if err != nil {
		return err
	}
	old, _ := find(list, oldPassword)
	if old == nil || oldPassword == newPassword {
		return nil
	}
	data, err := unseal(oldPassword, string(old.Value))
	if err != nil {
		return err
	}
	sealed, err := seal(newPassword, data)
	if err != nil {
		return err
	}
	if err := s.create(ctx, bootstrapKey(newPassword), sealed); err != nil && !errors.Is(err, errKeyExists) {
		return err
	}
	key := bootstrapKey(oldPassword)
	_, err = s.Client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", old.ModRevision)).
		Then(clientv3.OpDelete(key)).Else(clientv3.OpGet(key)).Commit()
	return err
}

// LocalBootstrap reads the data out of this member's files, as k3s does before it starts etcd: what the log holds beyond
// the database file is not seen.
func (o Options) LocalBootstrap(password string) (data []byte, err error) {
	dir := o.dir() + "-tmp"
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join("member", "snap", "db")
	db, err := os.ReadFile(filepath.Join(o.dir(), file))
	if err != nil {
		return nil, fmt.Errorf("failed to create temporary datastore client: %w", err)
	}
	if err := pki.WriteFile(filepath.Join(dir, file), db, 0o600); err != nil {
		return nil, err
	}
	// etcd's own storage panics on a damaged file.
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	cfg := backend.DefaultBackendConfig(quietLogger())
	cfg.Path, cfg.UnsafeNoFsync = filepath.Join(dir, file), true
	b := backend.New(cfg)
	defer b.Close()
	if index, _ := schema.ReadConsistentIndex(b.ReadTx()); index == 0 {
		return nil, errors.New("failed to create temporary datastore client: failed to read consistent index")
	}
	kv := mvcc.NewStore(quietLogger(), b, &lease.FakeLessor{}, mvcc.StoreConfig{})
	defer kv.Close()
	r, err := kv.Range(context.Background(), []byte(bootstrapPrefix), []byte(clientv3.GetPrefixRangeEnd(bootstrapPrefix)), mvcc.RangeOptions{})
	if err != nil {
		return nil, err
	}
	list := make([]*mvccpb.KeyValue, len(r.KVs))
	for i := range r.KVs {
		list[i] = &r.KVs[i]
	}
	found, err := find(list, password)
	if err != nil {
		return nil, err
	}
	if found == nil {
		return nil, errNoBootstrap
	}
	return unseal(password, string(found.Value))
}

func aead(password string, salt []byte) (cipher.AEAD, error) {
	key, err := pbkdf2.Key(sha256.New, password, salt, 4096, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func seal(password string, data []byte) (string, error) {
	salt := make([]byte, 8)
	if _, err := rand.Read(salt); err != nil {
		return "", err
	}
	gcm, err := aead(password, salt)
	if err != nil {
		return "", err
	}
	nonce := make([]byte, gcm.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return hex.EncodeToString(salt) + ":" + base64.StdEncoding.EncodeToString(gcm.Seal(nonce, nonce, data, nil)), nil
}

func unseal(password, sealed string) ([]byte, error) {
	saltHex, body, ok := strings.Cut(sealed, ":")
	if !ok {
		return nil, errors.New("malformed bootstrap data")
	}
	salt, err := hex.DecodeString(saltHex)
	if err != nil {
		return nil, err
	}
	raw, err := base64.StdEncoding.DecodeString(body)
	if err != nil {
		return nil, err
	}
	gcm, err := aead(password, salt)
	if err != nil {
		return nil, err
	}
	if len(raw) < gcm.NonceSize() {
		return nil, errors.New("malformed bootstrap data")
	}
	data, err := gcm.Open(nil, raw[:gcm.NonceSize()], raw[gcm.NonceSize():], nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOtherToken, err)
	}
	return data, nil
}
