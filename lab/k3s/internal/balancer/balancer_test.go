package balancer

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// backend answers every connection with its own address and holds it.
func backend(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(l.Addr().String() + "\n"))
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String()
}

func closedAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func start(t *testing.T, serverURL string) *Balancer {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	b, err := Start(ctx, "127.0.0.1:0", serverURL, filepath.Join(t.TempDir(), "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ask(t *testing.T, b *Balancer) (string, net.Conn) {
	t.Helper()
	c, err := net.Dial("tcp", b.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	var line []byte
	one := make([]byte, 1)
	for {
		if _, err := c.Read(one); err != nil {
			t.Fatal(err)
		}
		if one[0] == '\n' {
			return string(line), c
		}
		line = append(line, one[0])
	}
}

func TestLoopbackRule(t *testing.T) {
	for url, want := range map[string]string{
		"https://127.0.0.1:16443": "10.0.0.1:6443", // replaced by the first real server
		"https://[::1]:16443":     "10.0.0.1:6443",
		"https://localhost:16443": "localhost:16443",
		"https://10.0.0.9:6443":   "10.0.0.9:6443",
	} {
		b := start(t, url)
		b.Update([]string{"10.0.0.2:6443", "10.0.0.1:6443"})
		if got := b.Fallback(); got != want {
			t.Errorf("%s: fallback %s, want %s", url, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	b := start(t, "https://10.0.0.1:6443")
	if got := b.Servers(); !slices.Equal(got, []string{"10.0.0.1:6443"}) {
		t.Errorf("a start begins with server: %v", got)
	}
	b.Update([]string{"10.0.0.1:6443", "10.0.0.2:6443", "10.0.0.3:6443"})
	b.SetHealth("10.0.0.1:6443", false)
	b.SetHealth("10.0.0.2:6443", false)
	want := []string{"10.0.0.3:6443", "10.0.0.2:6443", "10.0.0.1:6443"}
	if got := b.Servers(); !slices.Equal(got, want) {
		t.Errorf("healthy, then others, fallback last: got %v, want %v", got, want)
	}
	b.Update(nil)
	if got := b.Servers(); !slices.Equal(got, want) {
		t.Errorf("an empty list changes nothing: %v", got)
	}
}

func TestStaysAndFailsOver(t *testing.T) {
	// In the order of their addresses: the rule for 127.0.0.1 makes the first the fallback.
	both := []string{backend(t), backend(t)}
	slices.Sort(both)
	first, second := both[0], both[1]
	b := start(t, "https://"+first)
	b.Update([]string{first, second})
	var open net.Conn
	for range 3 {
		var got string
		if got, open = ask(t, b); got != first {
			t.Fatalf("one active server: got %s, want %s", got, first)
		}
	}
	b.SetHealth(first, false)
	if _, err := io.ReadAll(open); err != nil {
		t.Errorf("connections of a server that went down are to be closed: %v", err)
	}
	if got, _ := ask(t, b); got != second {
		t.Fatalf("after failure: got %s, want %s", got, second)
	}
	b.SetHealth(first, true)
	if got, _ := ask(t, b); got != second {
		t.Fatalf("no way back while the active one works: got %s", got)
	}
}

func TestDialFailureMovesOn(t *testing.T) {
	dead, live := closedAddress(t), backend(t)
	b := start(t, "https://"+dead)
	b.Update([]string{dead, live})
	if got, _ := ask(t, b); got != live { // whichever of the two became the fallback
		t.Fatalf("got %s, want %s", got, live)
	}
	if got := b.Servers()[0]; got != live {
		t.Errorf("the one that answered is active: %s", got)
	}
}
