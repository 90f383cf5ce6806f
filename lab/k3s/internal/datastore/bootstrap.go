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
	"strings"

	"go.uber.org/zap"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// The cluster's CAs lie in etcd, encrypted with the token, under a key that depends on the token. A snapshot restored
// on a new host therefore needs the token of its time.
const bootstrapPrefix = "/bootstrap/"

var errOtherToken = errors.New("bootstrap data already found and encrypted with different token")

func quietLogger() *zap.Logger { return zap.NewNop() }

func bootstrapKey(password string) string {
	sum := sha256.Sum256([]byte(password))
	return bootstrapPrefix + hex.EncodeToString(sum[:])[:12]
}

// SaveBootstrap stores the data unless it is there. Errors: it is there under another token.
func (e *Etcd) SaveBootstrap(ctx context.Context, password string, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	if _, err := e.loadBootstrap(ctx, password); err != errNoBootstrap {
		return err
	}
	sealed, err := seal(password, data)
	if err != nil {
		return err
	}
	_, err = e.Client.Put(ctx, bootstrapKey(password), sealed)
	return err
}

var errNoBootstrap = errors.New("no bootstrap data found in etcd")

// LoadBootstrap returns the stored data.
func (e *Etcd) LoadBootstrap(ctx context.Context, password string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	return e.loadBootstrap(ctx, password)
}

func (e *Etcd) loadBootstrap(ctx context.Context, password string) ([]byte, error) {
	r, err := e.Client.Get(ctx, bootstrapPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	for _, kv := range r.Kvs {
		if string(kv.Key) == bootstrapKey(password) {
			return unseal(password, string(kv.Value))
		}
	}
	if len(r.Kvs) > 0 {
		return nil, errOtherToken
	}
	return nil, errNoBootstrap
}

// RotateBootstrap encrypts the data with a new token and forgets the old one.
func (e *Etcd) RotateBootstrap(ctx context.Context, oldPassword, newPassword string) error {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	data, err := e.loadBootstrap(ctx, oldPassword)
	if err != nil {
		return err
	}
	sealed, err := seal(newPassword, data)
	if err != nil {
		return err
	}
	_, err = e.Client.Txn(ctx).Then(clientv3.OpDelete(bootstrapKey(oldPassword)),
		clientv3.OpPut(bootstrapKey(newPassword), sealed)).Commit()
	return err
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
