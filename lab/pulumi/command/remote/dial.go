package remote

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"time"

	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/util/retry"
	"golang.org/x/crypto/ssh"
)

// dial opens a connection. Go's dialer has TCP keep-alive on: a silent host is given up after two and a half minutes.
func (c *Connection) dial(ctx context.Context) (*ssh.Client, error) {
	config, err := c.clientConfig()
	if err != nil {
		return nil, err
	}
	if c.Proxy == nil {
		return attempts(ctx, "Dial", *c.DialErrorLimit, func() (*ssh.Client, error) {
			return ssh.Dial("tcp", c.address(), config)
		})
	}
	client, err := c.dialThrough(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	return client, nil
}

// dialThrough goes through the bastion. Every error is told as the proxy's, also one of the host behind it.
func (c *Connection) dialThrough(ctx context.Context, config *ssh.ClientConfig) (*ssh.Client, error) {
	proxyConfig, err := c.Proxy.clientConfig()
	if err != nil {
		return nil, err
	}
	bastion, err := attempts(ctx, "Dial proxy", *c.Proxy.DialErrorLimit, func() (*ssh.Client, error) {
		return ssh.Dial("tcp", c.Proxy.address(), proxyConfig)
	})
	if err != nil {
		return nil, err
	}
	channel, err := attempts(ctx, "Dial from proxy", *c.DialErrorLimit, func() (net.Conn, error) {
		return bastion.Dial("tcp", c.address())
	})
	if err != nil {
		return nil, err
	}
	// As in the official provider, a failed handshake is tried again on the same channel, which the failure has closed:
	// the error that is told is the one of the last attempt.
	return attempts(ctx, "Dial", *c.DialErrorLimit, func() (*ssh.Client, error) {
		conn, channels, requests, err := ssh.NewClientConn(channel, c.address(), config)
		if err != nil {
			return nil, err
		}
		return ssh.NewClient(conn, channels, requests), nil
	})
}

// attempts calls f until it works, with the pauses of the SDK (0.1 s, growing by half, 5 s at most). More than limit
// failures end it; a limit of -1 never does. As in the official provider, the text counts the failures before the last.
func attempts[T any](ctx context.Context, what string, limit int, f func() (T, error)) (T, error) {
	var result T
	total := strconv.Itoa(limit)
	if limit == -1 {
		total = "inf"
	}
	done, _, err := retry.Until(ctx, retry.Acceptor{Accept: func(failures int, _ time.Duration) (bool, any, error) {
		var err error
		if result, err = f(); err == nil {
			return true, nil, nil
		}
		if limit > -1 && failures+1 > limit {
			return true, nil, fmt.Errorf("after %d failed attempts: %w", failures, err)
		}
		p.GetLogger(ctx).InfoStatusf("%s %d/%s failed: retrying", what, failures+1, total)
		return false, nil, nil
	}})
	if !done && err == nil {
		// Cancelled: the SDK reports that without an error.
		err = ctx.Err()
	}
	return result, err
}
