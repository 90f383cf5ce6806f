package server

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"

	"k3s-ha/lab/k3s/internal/pki"
	"k3s-ha/lab/k3s/internal/supervisor"
)

// Stages and the annotation of k3s: `<stage>-<SHA-256 of the configuration>` on the Node, of the last stage also in a file.
const (
	annotationEncryption = "k3s.io/encryption-config-hash"
	stageStart           = "start"
	stageActive          = "reencrypt_active"
	stageFinished        = "reencrypt_finished"
	// reloadLimit bounds the wait for the apiserver, which looks at the file once a minute.
	reloadLimit = 2 * time.Minute
	secretsPage = 20
)

func (o *options) encryptionConfig() string { return o.file("cred/encryption-config.json") }
func (o *options) encryptionState() string  { return o.file("cred/encryption-state.json") }

// encryptionKeys are the keys of the chosen provider, the one that encrypts first.
func (o *options) encryptionKeys() ([]apiserverv1.Key, error) {
	data, err := os.ReadFile(o.encryptionConfig())
	if err != nil {
		return nil, err
	}
	var c apiserverv1.EncryptionConfiguration
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	for _, r := range c.Resources {
		for _, p := range r.Providers {
			if p.AESCBC != nil {
				return p.AESCBC.Keys, nil
			}
			if p.Secretbox != nil {
				return p.Secretbox.Keys, nil
			}
		}
	}
	return nil, errors.New("no encryption keys found")
}

// writeEncryptionConfig writes the configuration with these keys of the chosen provider.
func (o *options) writeEncryptionConfig(keys []apiserverv1.Key) error {
	var p apiserverv1.ProviderConfiguration
	switch kind := o.String("secrets-encryption-provider"); kind {
	case "aescbc":
		p.AESCBC = &apiserverv1.AESConfiguration{Keys: keys}
	case "secretbox":
		p.Secretbox = &apiserverv1.SecretboxConfiguration{Keys: keys}
	default:
		return fmt.Errorf("unsupported secrets-encryption-provider %s", kind)
	}
	data, err := json.Marshal(apiserverv1.EncryptionConfiguration{
		TypeMeta: metav1.TypeMeta{Kind: "EncryptionConfiguration", APIVersion: "apiserver.config.k8s.io/v1"},
		Resources: []apiserverv1.ResourceConfiguration{{
			Resources: []string{"secrets"},
			Providers: []apiserverv1.ProviderConfiguration{p, {Identity: &apiserverv1.IdentityConfiguration{}}},
		}},
	})
	if err != nil {
		return err
	}
	return pki.WriteFile(o.encryptionConfig(), data, 0o600)
}

func (o *options) encryptionHash() (string, error) {
	data, err := os.ReadFile(o.encryptionConfig())
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}

func newEncryptionKey(name string) (apiserverv1.Key, error) {
	secret := make([]byte, 32)
	_, err := rand.Read(secret)
	return apiserverv1.Key{Name: name, Secret: base64.StdEncoding.EncodeToString(secret)}, err
}

// ensureEncryption makes the first key of a cluster with secrets-encryption; servers that join have it from the others.
func (o *options) ensureEncryption() error {
	if !o.Bool("secrets-encryption") {
		return nil
	}
	if _, err := os.Stat(o.encryptionConfig()); os.IsNotExist(err) {
		key, err := newEncryptionKey(o.String("secrets-encryption-provider") + "key")
		if err != nil {
			return err
		}
		if err := o.writeEncryptionConfig([]apiserverv1.Key{key}); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(o.encryptionState()); !os.IsNotExist(err) {
		return err
	}
	hash, err := o.encryptionHash()
	if err != nil {
		return err
	}
	return pki.WriteFile(o.encryptionState(), []byte(stageStart+"-"+hash), 0o600)
}

// annotateEncryption puts the last stage on this server's Node, which a start does once.
func (s *server) annotateEncryption(ctx context.Context) {
	for s.Bool("secrets-encryption") && ctx.Err() == nil {
		state, err := readTrimmed(s.encryptionState())
		if err == nil {
			err = s.setEncryptionAnnotation(ctx, state)
		}
		if err == nil {
			return
		}
		logrus.Debugf("encryption hash annotation: %v", err)
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

func (s *server) setEncryptionAnnotation(ctx context.Context, value string) error {
	return s.patchNode(ctx, s.id.Name, map[string]any{
		"metadata": map[string]any{"annotations": map[string]string{annotationEncryption: value}},
	})
}

// setStage puts a stage with the hash of the present configuration on the Node and, if it lasts, into the file.
func (s *server) setStage(ctx context.Context, stage string, lasts bool) error {
	hash, err := s.encryptionHash()
	if err != nil {
		return err
	}
	if err := s.setEncryptionAnnotation(ctx, stage+"-"+hash); err != nil || !lasts {
		return err
	}
	return pki.WriteFile(s.encryptionState(), []byte(stage+"-"+hash), 0o600)
}

// encryptionStages returns this server's annotation, and an error when servers have different ones.
func (s *server) encryptionStages(ctx context.Context) (own string, differs, err error) {
	list, err := s.kube.CoreV1().Nodes().List(ctx, metav1.ListOptions{LabelSelector: labelControlPlane + "=true"})
	if err != nil {
		return "", nil, err
	}
	var first *corev1.Node
	for i := range list.Items {
		n := &list.Items[i]
		value, ok := n.Annotations[annotationEncryption]
		if !ok {
			continue
		}
		if n.Name == s.id.Name {
			own = value
		}
		if first == nil {
			first = n
		} else if value != first.Annotations[annotationEncryption] {
			differs = fmt.Errorf("hash does not match between %s and %s", first.Name, n.Name)
		}
	}
	if own == "" {
		return "", nil, fmt.Errorf("missing annotation on node %s", s.id.Name)
	}
	return own, differs, nil
}

func (s *server) encryptionStatus(ctx context.Context) (any, error) {
	var st supervisor.EncryptionState
	if !s.supervisor.CoreReady() {
		return nil, supervisor.ErrCoreNotReady
	}
	keys, err := s.encryptionKeys()
	if os.IsNotExist(err) {
		return st, nil
	} else if err != nil {
		return nil, err
	}
	on := true
	st.Enable = &on
	own, differs, err := s.encryptionStages(ctx)
	if err != nil {
		return nil, err
	}
	st.HashMatch = differs == nil
	if differs != nil {
		st.HashError = differs.Error()
	}
	st.Stage, _, _ = strings.Cut(own, "-")
	kind := map[string]string{"aescbc": "AES-CBC", "secretbox": "XSalsa20-POLY1305"}[s.String("secrets-encryption-provider")]
	for i, k := range keys {
		if name := kind + " " + k.Name; i == 0 {
			st.ActiveKey = name
		} else {
			st.InactiveKeys = append(st.InactiveKeys, name)
		}
	}
	return st, nil
}

// rotateKeys is `k3s secrets-encrypt rotate-keys`: a new key first, every Secret written again, the old key gone. The other
// servers know the new one only after their next start.
func (s *server) rotateKeys(ctx context.Context) error {
	if !s.supervisor.CoreReady() {
		return supervisor.ErrCoreNotReady
	}
	own, differs, err := s.encryptionStages(ctx)
	if err != nil {
		return err
	}
	if differs != nil {
		return differs
	}
	hash, err := s.encryptionHash()
	if err != nil {
		return err
	}
	stage, ownHash, _ := strings.Cut(own, "-")
	if stage != stageStart && stage != stageFinished {
		return fmt.Errorf("incorrect stage: %s found on node %s", stage, s.id.Name)
	}
	if ownHash != hash {
		return fmt.Errorf("invalid hash: %s found on node %s", ownHash, s.id.Name)
	}
	reloads, err := s.encryptionReloads(ctx)
	if err != nil {
		return err
	}
	if err := s.setStage(ctx, stageActive, false); err != nil {
		return err
	}
	keys, err := s.encryptionKeys()
	if err != nil {
		return err
	}
	key, err := newEncryptionKey(s.String("secrets-encryption-provider") + "key-" + time.Now().Format(time.RFC3339))
	if err != nil {
		return err
	}
	logrus.Infof("Adding secrets-encryption key: [{%s %s}]", key.Name, key.Secret) // as k3s does
	if err := s.writeEncryptionConfig(slices.Insert(keys, 0, key)); err != nil {
		return err
	}
	if err := s.overrideBootstrap(ctx); err != nil {
		return err
	}
	if err := s.waitForReload(ctx, reloads); err != nil {
		return err
	}
	n, err := s.rewriteSecrets(ctx)
	if err != nil {
		return err
	}
	logrus.Infof("reencrypted %d secrets", n)
	if err := s.writeEncryptionConfig([]apiserverv1.Key{key}); err != nil {
		return err
	}
	if err := s.setStage(ctx, stageFinished, true); err != nil {
		return err
	}
	if err := s.overrideBootstrap(ctx); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return nil
}

func (s *server) overrideBootstrap(ctx context.Context) error {
	data, err := s.readBootstrap()
	if err != nil {
		return err
	}
	return s.store.SaveBootstrap(ctx, s.tokens.server, data, true)
}

// encryptionReloads is how often the apiserver has reloaded its configuration, by its metrics.
func (s *server) encryptionReloads(ctx context.Context) (float64, error) {
	data, err := s.kube.RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, err
	}
	sum := 0.0
	for line := range strings.SplitSeq(string(data), "\n") {
		if !strings.HasPrefix(line, "apiserver_encryption_config_controller_automatic_reloads_total{") || !strings.Contains(line, `status="success"`) {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndex(line, " ")+1:], 64)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

func (s *server) waitForReload(ctx context.Context, before float64) error {
	deadline := time.Now().Add(reloadLimit)
	for {
		now, err := s.encryptionReloads(ctx)
		if err != nil {
			return err
		}
		if now > before {
			logrus.Infof("encryption config reloaded successfully %.0f times", now)
			return nil
		}
		if time.Now().After(deadline) {
			return errors.New("apiserver has not reloaded encryption configuration")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Second):
		}
	}
}

func (s *server) rewriteSecrets(ctx context.Context) (int, error) {
	n := 0
	opts := metav1.ListOptions{Limit: secretsPage}
	for {
		list, err := s.kube.CoreV1().Secrets(metav1.NamespaceAll).List(ctx, opts)
		if err != nil {
			return n, err
		}
		for i := range list.Items {
			secret := &list.Items[i]
			_, err := s.kube.CoreV1().Secrets(secret.Namespace).Update(ctx, secret, metav1.UpdateOptions{})
			if err != nil && !apierrors.IsConflict(err) {
				return n, fmt.Errorf("failed to update secret: %w", err)
			}
			n++
		}
		if opts.Continue = list.Continue; opts.Continue == "" {
			return n, nil
		}
	}
}
