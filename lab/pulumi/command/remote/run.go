package remote

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	p "github.com/pulumi/pulumi-go-provider"
	"golang.org/x/crypto/ssh"
)

// The official provider hangs for ever at such a line: its log reader stops at the limit of bufio.Scanner, and the
// command waits for somebody to read. A test that hangs shows nothing, so here it is an error.
var errLongLine = errors.New("the command printed a line of 64 KiB or more while its output is logged: " +
	`the official provider hangs for ever here (set logging to "none")`)

// run runs the script and takes what it printed into the outputs.
func (c *CommandOutputs) run(ctx context.Context, script string) error {
	client, err := c.Connection.dial(ctx)
	if err != nil {
		return err
	}
	// Nobody closes the client: as with the official provider, the connection ends with the provider.
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	defer session.Close() //nolint:errcheck // it is closed already where the command ended

	if err := c.setEnvironment(ctx, session); err != nil {
		return err
	}
	if c.Stdin != nil {
		session.Stdin = strings.NewReader(*c.Stdin)
	}
	var stdout, stderr, both bytes.Buffer
	printed := &locked{Writer: &both}
	lines := startLog(ctx, session)
	session.Stdout = io.MultiWriter(&stdout, printed, lines.when(c.Logging.shows("stdout")))
	session.Stderr = io.MultiWriter(&stderr, printed, lines.when(c.Logging.shows("stderr")))
	err = session.Run(script)
	if failed := lines.end(); failed != nil && err != nil {
		return failed
	}
	if err != nil {
		return fmt.Errorf("%w: running %q:\n%s", err, script, both.String())
	}
	c.Stdout = strings.TrimSuffix(stdout.String(), "\n")
	c.Stderr = strings.TrimSuffix(stderr.String(), "\n")
	return nil
}

// setEnvironment sends the variables one by one; sshd answers each. Those that were asked for must be accepted, the
// previous output need not be.
func (c *CommandOutputs) setEnvironment(ctx context.Context, session *ssh.Session) error {
	const refused = `Unable to set '%s'. This only works if your SSH server is configured to accept
	these variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, you could
	prefix the command itself with the variables in the form 'VAR=value command'`
	for name, value := range c.Environment {
		if err := session.Setenv(name, value); err != nil {
			p.GetLogger(ctx).Errorf(refused, name)
			return fmt.Errorf("could not set environment variable %q: %w", name, err)
		}
	}
	if c.AddPreviousOutputInEnv != nil && !*c.AddPreviousOutputInEnv {
		return nil
	}
	for _, v := range [][2]string{{"PULUMI_COMMAND_STDOUT", c.Stdout}, {"PULUMI_COMMAND_STDERR", c.Stderr}} {
		if v[1] != "" && session.Setenv(v[0], v[1]) != nil {
			p.GetLogger(ctx).Warningf(refused, v[0])
		}
	}
	return nil
}

// lineLog shows each line of what is written to it in the engine's status, both streams in one.
type lineLog struct {
	in   *io.PipeWriter
	done chan error
}

func startLog(ctx context.Context, session *ssh.Session) lineLog {
	out, in := io.Pipe()
	log := lineLog{in, make(chan error, 1)}
	go func() {
		scanner := bufio.NewScanner(out)
		for scanner.Scan() {
			p.GetLogger(ctx).InfoStatus(scanner.Text())
		}
		var err error
		if errors.Is(scanner.Err(), bufio.ErrTooLong) {
			err = errLongLine
			session.Close() //nolint:errcheck // the command ends by this, whatever it answers
		}
		out.CloseWithError(err) //nolint:errcheck // never fails
		log.done <- err
	}()
	return log
}

// when is a writer to the log, or to nothing.
func (l lineLog) when(shown bool) io.Writer {
	if shown {
		return l.in
	}
	return io.Discard
}

// end waits until all lines are shown.
func (l lineLog) end() error {
	l.in.Close() //nolint:errcheck // never fails
	return <-l.done
}

// locked is a writer for two streams.
type locked struct {
	io.Writer
	mu sync.Mutex
}

func (l *locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Writer.Write(b)
}
