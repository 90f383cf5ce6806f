package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// key is a new key pair: the private half as OpenSSH writes it, the public one as in authorized_keys.
func key(t *testing.T, passphrase string) (private, public string, signer ssh.Signer) {
	t.Helper()
	_, secret, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(secret, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(secret, "", []byte(passphrase))
	}
	must(t, err)
	signer, err = ssh.NewSignerFromKey(secret)
	must(t, err)
	public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return string(pem.EncodeToMemory(block)), public, signer
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// sshd is Debian's, on a port of loopback, as the user who runs the tests.
type sshd struct {
	t                       *testing.T
	dir, user, key, hostKey string
	port                    int
}

func startSshd(t *testing.T, config ...string) *sshd {
	t.Helper()
	const binary = "/usr/sbin/sshd"
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v: install openssh-server (lab/lab setup does)", err)
	}
	me, err := user.Current()
	must(t, err)
	if me.Uid == "0" {
		must(t, os.MkdirAll("/run/sshd", 0o755))
	}
	s := &sshd{t: t, dir: t.TempDir(), user: me.Username, port: freePort(t)}
	var hostPrivate, userPublic string
	hostPrivate, s.hostKey, _ = key(t, "")
	s.key, userPublic, _ = key(t, "")
	in := func(name string) string { return filepath.Join(s.dir, name) }
	must(t, os.WriteFile(in("host"), []byte(hostPrivate), 0o600))
	must(t, os.WriteFile(in("authorized"), []byte(userPublic+"\n"), 0o600))
	lines := append([]string{
		"Port " + strconv.Itoa(s.port), "ListenAddress 127.0.0.1", "HostKey " + in("host"), "PidFile " + in("pid"),
		"AuthorizedKeysFile " + in("authorized"), "StrictModes no", "UsePAM no", "PermitRootLogin prohibit-password",
		"PasswordAuthentication no", "Subsystem sftp internal-sftp", "MaxStartups 100",
	}, config...)
	must(t, os.WriteFile(in("config"), []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	cmd := exec.Command(binary, "-D", "-e", "-f", in("config"))
	log, err := os.Create(in("log"))
	must(t, err)
	cmd.Stderr = log
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); log.Close() })
	eventually(t, "sshd answers", func() bool {
		c, err := net.Dial("tcp", s.address())
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return s
}

func (s *sshd) address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// connection is how to log in there, with other fields where they are given; nil leaves one out.
func (s *sshd) connection(other values) values {
	return with(values{
		"host": "127.0.0.1", "port": s.port, "user": s.user, "privateKey": s.key, "hostKey": s.hostKey, "dialErrorLimit": 1,
	}, other)
}

// args are a command's inputs for this host.
func (s *sshd) args(other values) values {
	return with(values{"connection": s.connection(nil), "addPreviousOutputInEnv": false}, other)
}

func with(m, other values) values {
	out := values{}
	for _, from := range []values{m, other} {
		for k, v := range from {
			out[k] = v
			if v == nil {
				delete(out, k)
			}
		}
	}
	return out
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited 30 s: %s", what)
		}
	}
}

// fake is an SSH server of the test's own, for what sshd does not do on demand. A command's text says what happens.
type fake struct {
	listener net.Listener
	config   *ssh.ServerConfig
	hostKey  string
	mu       sync.Mutex
	refuse   int // so many connections are closed at once
	accepted int
	open     int
	hold     chan struct{} // `hold` answers when it is closed
	running  chan struct{} // gets a value when `hold` runs
}

func startFake(t *testing.T, change func(*ssh.ServerConfig)) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	_, public, signer := key(t, "")
	f := &fake{
		listener: listener, hostKey: public, config: &ssh.ServerConfig{NoClientAuth: true},
		hold: make(chan struct{}), running: make(chan struct{}, 9),
	}
	f.config.AddHostKey(signer)
	if change != nil {
		change(f.config)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.accepted++
			refused := f.accepted <= f.refuse
			f.mu.Unlock()
			if refused {
				conn.Close()
				continue
			}
			go f.serve(conn)
		}
	}()
	return f
}

func (f *fake) port() int { return f.listener.Addr().(*net.TCPAddr).Port }

func (f *fake) connection(other values) values {
	return with(values{"host": "127.0.0.1", "port": f.port(), "dialErrorLimit": 1}, other)
}

func (f *fake) args(other values) values {
	return with(values{"connection": f.connection(nil), "addPreviousOutputInEnv": false}, other)
}

func (f *fake) serve(raw net.Conn) {
	conn, channels, requests, err := ssh.NewServerConn(raw, f.config)
	if err != nil {
		raw.Close()
		return
	}
	f.count(1)
	defer f.count(-1)
	go ssh.DiscardRequests(requests)
	for c := range channels {
		switch c.ChannelType() {
		case "session":
			ch, requests, err := c.Accept()
			if err == nil {
				go f.session(conn, ch, requests)
			}
		case "direct-tcpip":
			go forward(c)
		default:
			c.Reject(ssh.UnknownChannelType, "no")
		}
	}
}

func (f *fake) count(n int) { f.mu.Lock(); f.open += n; f.mu.Unlock() }

func (f *fake) connections() (open, accepted int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.open, f.accepted
}

// session takes any environment and runs the pretended command.
func (f *fake) session(conn *ssh.ServerConn, ch ssh.Channel, requests <-chan *ssh.Request) {
	var env []string
	for r := range requests {
		switch r.Type {
		case "env":
			name := takeString(&r.Payload)
			env = append(env, name+"="+takeString(&r.Payload))
			r.Reply(true, nil)
		case "exec":
			r.Reply(true, nil)
			go f.run(conn, ch, takeString(&r.Payload), env)
		default:
			r.Reply(false, nil)
		}
	}
}

func (f *fake) run(conn *ssh.ServerConn, ch ssh.Channel, command string, env []string) {
	status := func(code uint32) {
		ch.SendRequest("exit-status", false, binary.BigEndian.AppendUint32(nil, code))
		ch.Close()
	}
	switch word, rest, _ := strings.Cut(command, " "); word {
	case "env":
		fmt.Fprintln(ch, strings.Join(env, "\n"))
		status(0)
	case "user":
		fmt.Fprintln(ch, conn.User())
		status(0)
	case "print":
		io.WriteString(ch, rest)
		status(0)
	case "long": // a line of so many bytes, and another one
		n, _ := strconv.Atoi(rest)
		io.WriteString(ch, strings.Repeat("x", n)+"\nmore\n")
		status(0)
	case "hold":
		io.WriteString(ch, "holding\n")
		f.running <- struct{}{}
		<-f.hold
		status(0)
	case "silent": // the channel closes without an exit status
		ch.Close()
	case "drop":
		conn.Close()
	default:
		status(127)
	}
}

func takeString(b *[]byte) string {
	n := binary.BigEndian.Uint32(*b)
	s := string((*b)[4 : 4+n])
	*b = (*b)[4+n:]
	return s
}

// forward makes the server a bastion.
func forward(c ssh.NewChannel) {
	payload := c.ExtraData()
	host := takeString(&payload)
	to, err := net.Dial("tcp", net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint32(payload)))))
	if err != nil {
		c.Reject(ssh.ConnectionFailed, "Connection refused")
		return
	}
	ch, requests, err := c.Accept()
	if err != nil {
		to.Close()
		return
	}
	go ssh.DiscardRequests(requests)
	go func() { io.Copy(to, ch); to.Close() }()
	go func() { io.Copy(ch, to); ch.Close() }()
}
