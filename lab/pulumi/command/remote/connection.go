package remote

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// endpoint is one SSH server and how to log in there. Check fills in the defaults.
type endpoint struct {
	Host               string  `pulumi:"host"`
	Port               float64 `pulumi:"port,optional"`
	User               string  `pulumi:"user,optional"`
	Password           *string `pulumi:"password,optional"`
	PrivateKey         *string `pulumi:"privateKey,optional"`
	PrivateKeyPassword *string `pulumi:"privateKeyPassword,optional"`
	AgentSocketPath    *string `pulumi:"agentSocketPath,optional"`
	HostKey            *string `pulumi:"hostKey,optional"`
	DialErrorLimit     int     `pulumi:"dialErrorLimit,optional"`
	PerDialTimeout     int     `pulumi:"perDialTimeout,optional"`
}

// Connection is a host, reached through a bastion if Proxy is set.
type Connection struct {
	endpoint
	Proxy *ProxyConnection `pulumi:"proxy,optional"`
}

// ProxyConnection is a bastion.
type ProxyConnection struct{ endpoint }

var (
	endpointDefaults = values{
		"port":           resource.NewProperty(22.0),
		"user":           resource.NewProperty("root"),
		"dialErrorLimit": resource.NewProperty(10.0),
		"perDialTimeout": resource.NewProperty(15.0),
	}
	endpointSecrets = []resource.PropertyKey{"password", "privateKey", "privateKeyPassword"}
)

// withDefaults completes the inputs of a connection and its bastion, and marks what is secret there.
func withDefaults(v value) value {
	if v.IsSecret() {
		return secret(withDefaults(v.SecretValue().Element))
	}
	if !v.IsObject() {
		return v
	}
	out := v.ObjectValue().Copy()
	for k, def := range endpointDefaults {
		if out[k].IsNull() {
			out[k] = def
		}
	}
	for _, k := range endpointSecrets {
		if v, ok := out[k]; ok {
			out[k] = secret(v)
		}
	}
	if proxy, ok := out["proxy"]; ok {
		out["proxy"] = withDefaults(proxy)
	}
	return resource.NewProperty(out)
}

func (e *endpoint) address() string {
	return net.JoinHostPort(e.Host, strconv.Itoa(int(e.Port)))
}

// clientConfig reads keys and opens the agent. It runs before anything is dialled, so these errors are not retried.
func (e *endpoint) clientConfig() (*ssh.ClientConfig, error) {
	config := &ssh.ClientConfig{
		User:            e.User,
		Timeout:         time.Duration(e.PerDialTimeout) * time.Second,
		HostKeyCallback: ssh.InsecureIgnoreHostKey(),
	}
	if e.HostKey != nil {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(*e.HostKey))
		if err != nil {
			return nil, fmt.Errorf("failed to parse host key: %w", err)
		}
		config.HostKeyCallback = ssh.FixedHostKey(key)
		// The kind of the key, not its signature algorithms: of a pinned RSA key only ssh-rsa (SHA-1) is offered.
		config.HostKeyAlgorithms = []string{key.Type()}
	}
	if e.PrivateKey != nil {
		signer, err := e.signer()
		if err != nil {
			return nil, err
		}
		config.Auth = append(config.Auth, ssh.PublicKeys(signer))
	}
	if e.Password != nil {
		config.Auth = append(config.Auth, ssh.Password(*e.Password), ssh.KeyboardInteractive(e.answer))
	}
	if socket := e.agentSocket(); socket != nil {
		conn, err := net.Dial("unix", *socket)
		if err != nil {
			return nil, err
		}
		// After a private key this is never asked: x/crypto/ssh tries each method's name once.
		config.Auth = append(config.Auth, ssh.PublicKeysCallback(agent.NewClient(conn).Signers))
	}
	return config, nil
}

func (e *endpoint) signer() (ssh.Signer, error) {
	if e.PrivateKeyPassword != nil {
		return ssh.ParsePrivateKeyWithPassphrase([]byte(*e.PrivateKey), []byte(*e.PrivateKeyPassword))
	}
	return ssh.ParsePrivateKey([]byte(*e.PrivateKey))
}

// agentSocket is nil where no agent is wanted. A path that is set is used, also an empty or stale one.
func (e *endpoint) agentSocket() *string {
	if e.AgentSocketPath != nil {
		return e.AgentSocketPath
	}
	if path := os.Getenv("SSH_AUTH_SOCK"); path != "" {
		return &path
	}
	return nil
}

// answer gives the password to every question of keyboard-interactive.
func (e *endpoint) answer(_, _ string, questions []string, _ []bool) ([]string, error) {
	answers := make([]string, len(questions))
	for i := range answers {
		answers[i] = *e.Password
	}
	return answers, nil
}
