// Package balancer is the agent's client load balancer: one active server, the next one only on failure.
package balancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"k3s-ha/lab/k3s/internal/pki"
)

// Name is what k3s calls it in logs and in the state file's name.
const Name = "k3s-agent-load-balancer"

const dialTimeout = 10 * time.Second

type server struct {
	down  bool
	conns map[net.Conn]struct{}
}

// Balancer forwards TCP connections from a local address to one of the cluster's servers.
type Balancer struct {
	stateFile string
	serverURL string
	listener  net.Listener
	// rule127 is set when `server` is a loopback address: k3s then takes itself for an etcd-only node and replaces the
	// fallback by the first real server.
	rule127 bool

	mu       sync.Mutex
	fallback string
	active   string
	order    []string
	servers  map[string]*server
}

// Start listens on an address. A restart always begins with `server`; stateFile is written for people to read, as in
// k3s (etc/k3s-agent-load-balancer.json).
func Start(ctx context.Context, listen, serverURL, stateFile string) (*Balancer, error) {
	fallback, err := HostPort(serverURL)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(fallback)
	b := &Balancer{
		stateFile: stateFile, serverURL: serverURL, listener: l, fallback: fallback, active: fallback,
		// "localhost" is not compared by k3s and so keeps its place.
		rule127: host == "127.0.0.1" || host == "::1",
		servers: map[string]*server{},
	}
	logrus.Infof("Running load balancer %s %s -> [] [default: %s]", Name, l.Addr(), fallback)
	b.save()
	go func() {
		<-ctx.Done()
		l.Close()
	}()
	go b.serve(ctx)
	return b, nil
}

// HostPort returns host:port of an https URL, port 443 by default.
func HostPort(serverURL string) (string, error) {
	u, err := url.Parse(serverURL)
	if err != nil || u.Hostname() == "" {
		return "", fmt.Errorf("invalid server url, failed to parse: %s", serverURL)
	}
	port := u.Port()
	if port == "" {
		port = "443"
	}
	return net.JoinHostPort(u.Hostname(), port), nil
}

// URL is the local address that clients use.
func (b *Balancer) URL() string { return "https://" + b.listener.Addr().String() }

// Update sets the cluster's servers (host:port). Connections to servers no longer listed are closed.
func (b *Balancer) Update(addresses []string) {
	addresses = slices.Clone(addresses)
	slices.Sort(addresses)
	addresses = slices.Compact(addresses)
	if len(addresses) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if slices.Equal(addresses, b.order) {
		return
	}
	b.order = addresses
	if b.rule127 {
		if host, _, _ := net.SplitHostPort(b.fallback); host == "127.0.0.1" || host == "::1" {
			old := b.fallback
			b.fallback = addresses[0]
			if b.active == old {
				b.active = b.fallback
			}
			logrus.Infof("Updated load balancer %s default server: %s", Name, b.fallback)
			b.closeConns(old)
		}
	}
	for a := range b.servers {
		if a != b.fallback && !slices.Contains(addresses, a) {
			logrus.Infof("Removing server from load balancer %s: %s", Name, a)
			b.closeConns(a)
			delete(b.servers, a)
			if b.active == a {
				b.active = b.order[0]
			}
		}
	}
	logrus.Infof("Updated load balancer %s server addresses -> %v [default: %s]", Name, addresses, b.fallback)
	b.save()
}

// SetHealth notes whether the tunnel to a server is up. A server that goes down loses its connections at once, so that
// clients connect anew to the next one.
func (b *Balancer) SetHealth(address string, up bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.get(address)
	if s.down == !up {
		return
	}
	s.down = !up
	if up {
		return
	}
	if b.active == address {
		b.active = ""
	}
	b.closeConns(address)
}

// Servers returns the candidates in the order in which they are dialled: the active one, healthy ones, the others, and
// the fallback last.
func (b *Balancer) Servers() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var healthy, down []string
	for _, a := range b.order {
		switch {
		case a == b.active || a == b.fallback:
		case b.get(a).down:
			down = append(down, a)
		default:
			healthy = append(healthy, a)
		}
	}
	var out []string
	if b.active != "" {
		out = append(out, b.active)
	}
	out = append(out, healthy...)
	out = append(out, down...)
	if b.active != b.fallback {
		out = append(out, b.fallback)
	}
	return out
}

// Fallback is the server of last resort.
func (b *Balancer) Fallback() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fallback
}

func (b *Balancer) get(address string) *server {
	s := b.servers[address]
	if s == nil {
		s = &server{conns: map[net.Conn]struct{}{}}
		b.servers[address] = s
	}
	return s
}

func (b *Balancer) closeConns(address string) {
	s := b.get(address)
	for c := range s.conns {
		c.Close()
	}
	s.conns = map[net.Conn]struct{}{}
}

func (b *Balancer) serve(ctx context.Context) {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				logrus.Errorf("%s: %v", Name, err)
			}
			return
		}
		go b.forward(ctx, c)
	}
}

func (b *Balancer) forward(ctx context.Context, client net.Conn) {
	defer client.Close()
	up, address := b.dial(ctx)
	if up == nil {
		return
	}
	defer up.Close()
	b.mu.Lock()
	s := b.get(address)
	s.conns[client] = struct{}{}
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(s.conns, client)
		b.mu.Unlock()
	}()
	done := make(chan struct{}, 2)
	pipe := func(dst, src net.Conn) {
		_, _ = io.Copy(dst, src)
		if t, ok := dst.(*net.TCPConn); ok {
			_ = t.CloseWrite()
		}
		done <- struct{}{}
	}
	go pipe(up, client)
	go pipe(client, up)
	<-done
	<-done
}

func (b *Balancer) dial(ctx context.Context) (net.Conn, string) {
	for _, a := range b.Servers() {
		d := net.Dialer{Timeout: dialTimeout}
		c, err := d.DialContext(ctx, "tcp", a)
		if err != nil {
			logrus.Debugf("Dial error from load balancer %s: %v", Name, err)
			continue
		}
		b.mu.Lock()
		b.active = a
		b.mu.Unlock()
		return c, a
	}
	return nil, ""
}

func (b *Balancer) save() {
	data, err := json.MarshalIndent(map[string]any{"ServerURL": b.serverURL, "ServerAddresses": b.order}, "", "  ")
	if err == nil {
		err = pki.WriteFile(b.stateFile, data, 0o600)
	}
	if err != nil {
		logrus.Warnf("Failed to save load balancer state: %v", err)
	}
}
