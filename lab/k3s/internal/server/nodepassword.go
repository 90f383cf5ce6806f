package server

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"k3s-ha/lab/k3s/internal/host"
	"k3s-ha/lab/k3s/internal/supervisor"
)

// The first use of a node name keeps a hash of its password in kube-system/<node>.node-password.k3s; deleting the Node
// deletes it.
const passwordSuffix = ".node-password.k3s"

var errPasswordMismatch = errors.New("unable to verify hash for node: hash does not match")

func hashPassword(password string, salt []byte) (string, error) {
	if salt == nil {
		salt = make([]byte, 8)
		if _, err := rand.Read(salt); err != nil {
			return "", err
		}
	}
	sum, err := pbkdf2.Key(sha256.New, password, salt, 4096, 32)
	return hex.EncodeToString(salt) + ":" + hex.EncodeToString(sum), err
}

func verifyPassword(hash, password string) error {
	saltHex, _, ok := strings.Cut(hash, ":")
	salt, err := hex.DecodeString(saltHex)
	if err != nil || !ok {
		return errPasswordMismatch
	}
	own, err := hashPassword(password, salt)
	if err != nil || subtle.ConstantTimeCompare([]byte(own), []byte(hash)) != 1 {
		return errPasswordMismatch
	}
	return nil
}

// checkNode decides whether a node may have kubelet certificates. Before the controllers run only this server's own
// node may.
func (s *server) checkNode(ctx context.Context, name, password string, byCertificate bool) (int, error) {
	if !s.supervisor.CoreReady() {
		if name != s.id.Name {
			return http.StatusServiceUnavailable, supervisor.ErrCoreNotReady
		}
		own, err := host.NodePassword()
		if err != nil {
			return http.StatusInternalServerError, err
		}
		if subtle.ConstantTimeCompare([]byte(own), []byte(password)) != 1 {
			return http.StatusForbidden, errors.New("unable to verify local node password")
		}
		logrus.Infof("Password verified locally for node %s", name)
		return 0, nil
	}
	if byCertificate {
		if _, err := s.nodes.Get(name); err != nil {
			return http.StatusUnauthorized, fmt.Errorf("unable to verify node identity: %w", err)
		}
	}
	if err := s.ensurePassword(ctx, name, password); errors.Is(err, errPasswordMismatch) {
		return http.StatusForbidden, err
	} else if err != nil {
		// As in k3s a failure to store the secret does not keep nodes from joining.
		logrus.Warnf("Node password of %s not stored: %v", name, err)
	}
	return 0, nil
}

func (s *server) ensurePassword(ctx context.Context, name, password string) error {
	secrets := s.kube.CoreV1().Secrets(metav1.NamespaceSystem)
	secret, err := secrets.Get(ctx, name+passwordSuffix, metav1.GetOptions{})
	if err == nil {
		return verifyPassword(string(secret.Data["hash"]), password)
	}
	if !apierrors.IsNotFound(err) {
		return err
	}
	hash, err := hashPassword(password, nil)
	if err != nil {
		return err
	}
	immutable := true
	_, err = secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: name + passwordSuffix, Namespace: metav1.NamespaceSystem},
		Immutable:  &immutable,
		Data:       map[string][]byte{"hash": []byte(hash)},
	}, metav1.CreateOptions{})
	return err
}
