package main

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

func TestHostKey(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		to := func(hostKey any) values {
			return s.args(values{"create": "echo there", "connection": s.connection(values{"hostKey": hostKey})})
		}
		_, other, _ := key(t, "")
		equal(t, p.fails(to(other)), "after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch")
		equal(t, p.fails(to("junk")), "failed to parse host key: ssh: no key found")
		pair, err := rsa.GenerateKey(rand.Reader, 2048)
		must(t, err)
		public, err := ssh.NewPublicKey(&pair.PublicKey)
		must(t, err)
		matches(t, p.fails(to(string(ssh.MarshalAuthorizedKey(public)))),
			`^after 1 failed attempts: ssh: handshake failed: ssh: no common algorithm for host key; `+
				`(we|client) offered: \[ssh-rsa\], (peer|server) offered: \[ssh-ed25519\]$`)
		equal(t, p.made(to(nil))["stdout"], "there")
	})
}

func TestWhatIsWrongWithAKeyOrAPort(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		to := func(other values) values { return s.args(values{"create": "true", "connection": s.connection(other)}) }
		wrong, _, _ := key(t, "")
		equal(t, p.fails(to(values{"privateKey": wrong})), "after 1 failed attempts: ssh: handshake failed: "+
			"ssh: unable to authenticate, attempted methods [none publickey], no supported methods remain")
		equal(t, p.fails(to(values{"privateKey": nil})), "after 1 failed attempts: ssh: handshake failed: "+
			"ssh: unable to authenticate, attempted methods [none], no supported methods remain")
		p.logs()
		equal(t, p.fails(to(values{"privateKey": "junk"})), "ssh: no key found")
		equal(t, p.logs(), []string(nil))
		port := freePort(t)
		equal(t, p.fails(to(values{"port": port})), fmt.Sprintf(
			"after 1 failed attempts: dial tcp 127.0.0.1:%d: connect: connection refused", port))
		equal(t, p.logs(), []string{"info status: Dial 1/1 failed: retrying"})
		matches(t, p.fails(to(values{"host": "no-such-host.invalid", "dialErrorLimit": 0})),
			"^after 0 failed attempts: dial tcp: lookup no-such-host.invalid")
	})
}

func TestEncryptedKey(t *testing.T) {
	f := startFake(t, func(c *ssh.ServerConfig) {
		c.NoClientAuth = false
		c.PublicKeyCallback = func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }
	})
	private, _, _ := key(t, "open sesame")
	both(t, func(t *testing.T, p *provider) {
		to := func(password any) values {
			return f.args(values{"create": "user", "connection": f.connection(values{
				"privateKey": private, "privateKeyPassword": password})})
		}
		equal(t, p.made(to("open sesame"))["stdout"], "root")
		equal(t, p.fails(to("wrong")), "x509: decryption password incorrect")
		equal(t, p.fails(to(nil)), "ssh: this private key is passphrase protected")
	})
}

func TestPassword(t *testing.T) {
	right := func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
		if string(password) != "secret" {
			return nil, fmt.Errorf("no")
		}
		return nil, nil
	}
	byPassword := startFake(t, func(c *ssh.ServerConfig) { c.NoClientAuth, c.PasswordCallback = false, right })
	byQuestions := startFake(t, func(c *ssh.ServerConfig) {
		c.NoClientAuth = false
		c.KeyboardInteractiveCallback = func(
			m ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge,
		) (*ssh.Permissions, error) {
			answers, err := ask("", "", []string{"Password: ", "Again: "}, []bool{false, false})
			if err != nil || answers[0] != answers[1] {
				return nil, fmt.Errorf("no")
			}
			return right(m, []byte(answers[0]))
		}
	})
	both(t, func(t *testing.T, p *provider) {
		for _, f := range []*fake{byPassword, byQuestions} {
			to := func(password string) values {
				return f.args(values{
					"create": "user", "connection": f.connection(values{"user": "me", "password": password})})
			}
			equal(t, p.made(to("secret"))["stdout"], "me")
			matches(t, p.fails(to("wrong")),
				`ssh: unable to authenticate, attempted methods \[none (password|keyboard-interactive)\], `)
		}
	})
}

// startAgent holds the private key of that host's user.
func startAgent(t *testing.T, private string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	ring := agent.NewKeyring()
	raw, err := ssh.ParseRawPrivateKey([]byte(private))
	must(t, err)
	must(t, ring.Add(agent.AddedKey{PrivateKey: raw}))
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, conn)
		}
	}()
	return socket
}

func TestAgent(t *testing.T) {
	s := startSshd(t)
	socket := startAgent(t, s.key)
	both(t, func(t *testing.T, p *provider) {
		to := func(other values) values {
			return s.args(values{"create": "echo in", "connection": s.connection(other)})
		}
		equal(t, p.made(to(values{"privateKey": nil, "agentSocketPath": socket}))["stdout"], "in")
		wrong, _, _ := key(t, "")
		// With a key the agent is not asked, but it has to be there.
		matches(t, p.fails(to(values{"privateKey": wrong, "agentSocketPath": socket})), "attempted methods .none publickey.")
		const gone = "dial unix /nonexistent/agent: connect: no such file or directory"
		equal(t, p.fails(to(values{"agentSocketPath": "/nonexistent/agent"})), gone)
		equal(t, start(t, p.name, "SSH_AUTH_SOCK="+socket).made(to(values{"privateKey": nil}))["stdout"], "in")
		stale := start(t, p.name, "SSH_AUTH_SOCK=/nonexistent/agent")
		equal(t, stale.fails(to(nil)), gone)
		equal(t, stale.made(to(values{"agentSocketPath": socket}))["stdout"], "in")
	})
}

func TestBastion(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		bastion := startFake(t, nil)
		to := func(target, proxy values) values {
			return s.args(values{"create": "echo through",
				"connection": s.connection(with(target, values{"proxy": bastion.connection(proxy)}))})
		}
		equal(t, p.made(to(nil, values{"hostKey": bastion.hostKey}))["stdout"], "through")
		_, accepted := bastion.connections()
		equal(t, accepted, 1)
		port := freePort(t)
		matches(t, p.fails(to(values{"port": port}, nil)),
			`^proxy: after 1 failed attempts: ssh: rejected: connect failed \(Connection refused\)$`)
		equal(t, p.logs()[1:], []string{"info status: Dial from proxy 1/1 failed: retrying"})
		equal(t, p.fails(to(nil, values{"port": port})), fmt.Sprintf(
			"proxy: after 1 failed attempts: dial tcp 127.0.0.1:%d: connect: connection refused", port))
		equal(t, p.logs(), []string{"info status: Dial proxy 1/1 failed: retrying"})
		_, other, _ := key(t, "")
		equal(t, p.fails(to(nil, values{"hostKey": other})),
			"proxy: after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch")
		equal(t, p.fails(to(values{"hostKey": other, "dialErrorLimit": 0}, nil)),
			"proxy: after 0 failed attempts: ssh: handshake failed: ssh: host key mismatch")
		// Another attempt uses the same channel, which the first one has closed.
		matches(t, p.fails(to(values{"hostKey": other}, nil)),
			"^proxy: after 1 failed attempts: ssh: handshake failed: .*EOF$")
		equal(t, p.fails(to(nil, values{"hostKey": "junk"})), "proxy: failed to parse host key: ssh: no key found")
		equal(t, p.fails(to(values{"hostKey": "junk"}, nil)), "failed to parse host key: ssh: no key found")
	})
}

func TestDialsAgain(t *testing.T) {
	both(t, func(t *testing.T, p *provider) {
		f := startFake(t, nil)
		f.refuse = 4
		began := time.Now()
		to := f.args(values{"create": "print hello", "connection": f.connection(values{"dialErrorLimit": 5})})
		equal(t, p.made(to)["stdout"], "hello")
		took := time.Since(began)
		equal(t, p.logs()[:4], []string{
			"info status: Dial 1/5 failed: retrying", "info status: Dial 2/5 failed: retrying",
			"info status: Dial 3/5 failed: retrying", "info status: Dial 4/5 failed: retrying",
		})
		// 0.1 + 0.15 + 0.225 + 0.3375 s
		if took < 800*time.Millisecond || took > 20*time.Second {
			t.Fatal(took)
		}
		f.refuse = 99
		matches(t, p.fails(f.args(values{"create": "x", "connection": f.connection(values{"dialErrorLimit": 2})})),
			"^after 2 failed attempts: ssh: handshake failed: ")
		_, accepted := f.connections()
		equal(t, accepted, 5+3)
	})
}

// A listener whose queue is full drops what asks: the dial ends by perDialTimeout.
func TestPerDialTimeout(t *testing.T) {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	must(t, err)
	t.Cleanup(func() { syscall.Close(socket) })
	must(t, syscall.Bind(socket, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, syscall.Listen(socket, 0))
	name, err := syscall.Getsockname(socket)
	must(t, err)
	port := name.(*syscall.SockaddrInet4).Port
	for range 3 {
		if c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 200*time.Millisecond); err == nil {
			t.Cleanup(func() { c.Close() })
		}
	}
	both(t, func(t *testing.T, p *provider) {
		equal(t, p.fails(values{"create": "true", "connection": values{
			"host": "127.0.0.1", "port": port, "perDialTimeout": 1, "dialErrorLimit": 0}}),
			fmt.Sprintf("after 0 failed attempts: dial tcp 127.0.0.1:%d: i/o timeout", port))
	})
}

// The texts on which components/hooks/ssh-advice.ts relies stand above; this says that they are those.
func TestAdviceKnowsTheTexts(t *testing.T) {
	source, err := os.ReadFile("../../../components/hooks/ssh-advice.ts")
	must(t, err)
	for _, text := range []string{
		"Process exited with status", "unable to authenticate", "no common algorithm for host key", "host key mismatch",
		"connection refused", `i\/o timeout`, "deadline exceeded", "exited without exit status",
	} {
		if !strings.Contains(string(source), text) {
			t.Errorf("ssh-advice.ts does not look for %q any more", text)
		}
	}
}
