package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/emptypb"
)

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %#v\nwant %#v", got, want)
	}
}

func matches(t *testing.T, got, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(got) {
		t.Fatalf("got  %s\nwant %s", got, pattern)
	}
}

func sorted(s []string) []string { slices.Sort(s); return s }

func TestRunsWithStdinAndLogsBothStreams(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		out := p.made(s.args(values{"create": "cat; echo err >&2", "stdin": "one\ntwo\n"}))
		equal(t, []any{out["stdout"], out["stderr"]}, []any{"one\ntwo", "err"})
		equal(t, sorted(p.logs()), []string{"info status: err", "info status: one", "info status: two"})
		equal(t, p.made(s.args(values{"create": "cat; echo end"}))["stdout"], "end")
		equal(t, p.made(s.args(values{"create": "printf 'a\\n\\n'"}))["stdout"], "a\n")
	})
}

func TestLogsWhatItIsToldTo(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		for logging, want := range map[string][]string{
			"none": nil, "stderr": {"info status: err"}, "stdout": {"info status: out"},
			"stdoutAndStderr": {"info status: err", "info status: out"},
		} {
			p.made(s.args(values{"create": "echo out; echo err >&2", "logging": logging}))
			equal(t, sorted(p.logs()), want)
		}
	})
}

func TestShowsLinesWhileTheCommandRuns(t *testing.T) {
	f := startFake(t, nil)
	f.hold = make(chan struct{})
	both(t, func(t *testing.T, p *provider) {
		done := make(chan error, 1)
		go func() { _, err := p.createOf(command_, f.args(values{"create": "hold"})); done <- err }()
		var logs []string
		eventually(t, "the line is shown", func() bool { logs = append(logs, p.logs()...); return len(logs) > 0 })
		equal(t, logs, []string{"info status: holding"})
		select {
		case <-done:
			t.Fatal("the command has ended")
		default:
		}
		_, err := p.Cancel(p.ctx(), &emptypb.Empty{})
		must(t, err)
		select {
		case err := <-done:
			t.Fatal("cancel ends a running command: ", err)
		case <-time.After(time.Second):
		}
	})
}

func TestCarriesLargeInputAndOutput(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		text := strings.Repeat(strings.Repeat("0123456789abcdef", 8)+"\n", 8000)
		out := p.made(s.args(values{"create": "cat; echo end >&2", "stdin": text, "logging": "none"}))
		equal(t, out["stdout"] == text[:len(text)-1], true)
	})
}

func TestLongLines(t *testing.T) {
	f := startFake(t, nil)
	both(t, func(t *testing.T, p *provider) {
		equal(t, len(p.made(f.args(values{"create": "long 65535"}))["stdout"].(string)), 65535+5)
		equal(t, len(p.made(f.args(values{"create": "long 70000", "logging": "none"}))["stdout"].(string)), 70000+5)
		equal(t, len(p.made(f.args(values{"create": "long 70000", "logging": "stderr"}))["stdout"].(string)), 70000+5)
		limit := time.Minute
		if p.name == official {
			limit = 3 * time.Second
		}
		ctx := within(t, limit)
		_, err := p.Create(ctx, &rpc.CreateRequest{
			Urn: urn(command_), Properties: p.checked(command_, f.args(values{"create": "long 65536"})),
		})
		if p.name == official {
			if err == nil || ctx.Err() == nil {
				t.Fatalf("it does not hang: %v", err)
			}
		} else {
			matches(t, message(err), "line of 64 KiB or more while its output is logged: the official provider hangs")
		}
	})
}

func TestTellsHowACommandFailed(t *testing.T) {
	s, f := startSshd(t), startFake(t, nil)
	both(t, func(t *testing.T, p *provider) {
		failed := p.fails(s.args(values{"create": `echo "so it goes"; sleep 0.2; echo bad >&2; exit 3`}))
		equal(t, failed, `Process exited with status 3: running "echo \"so it goes\"; sleep 0.2; echo bad >&2; exit 3":`+
			"\nso it goes\nbad\n")
		matches(t, p.fails(s.args(values{"create": "kill -9 $$"})),
			`^Process exited with status 137 from signal KILL: running "kill -9 \$\$":\n$`)
		const noStatus = "^wait: remote command exited without exit status or exit signal: running "
		matches(t, p.fails(f.args(values{"create": "silent"})), noStatus)
		matches(t, p.fails(f.args(values{"create": "drop"})), noStatus)
		equal(t, p.fails(s.args(values{"create": "echo hidden; exit 1", "logging": "none"})),
			"Process exited with status 1: running \"echo hidden; exit 1\":\nhidden\n")
	})
}

func TestUpdatesAndDeletes(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		trace := filepath.Join(s.dir, p.name)
		note := func(what string) string { return "echo " + what + " >> " + trace + "; echo " + what }
		base := s.args(values{"create": note("c")})
		made, err := p.createOf(command_, base)
		must(t, err)
		matches(t, made.Id, "^x[0-9a-f]{8}$")
		state := made.Properties
		update := func(inputs values) values {
			t.Helper()
			r, err := p.Update(p.ctx(), &rpc.UpdateRequest{
				Id: made.Id, Urn: urn(command_), Olds: state, News: p.checked(command_, inputs),
			})
			must(t, err)
			state = r.Properties
			return unwire(t, state)
		}
		remove := func() {
			t.Helper()
			_, err := p.Delete(p.ctx(), &rpc.DeleteRequest{Id: made.Id, Urn: urn(command_), Properties: state})
			must(t, err)
		}
		equal(t, update(with(base, values{"stdin": "x"}))["stdout"], "c")
		equal(t, update(with(base, values{"update": note("u"), "delete": note("d")}))["stdout"], "u")
		remove()
		// With no script nobody connects, and the outputs stay.
		nowhere := s.connection(values{"port": 1, "dialErrorLimit": 0})
		equal(t, update(with(base, values{"create": nil, "connection": nowhere}))["stdout"], "u")
		remove()
		equal(t, p.made(values{"connection": nowhere})["stdout"], "")
		content, err := os.ReadFile(trace)
		must(t, err)
		equal(t, string(content), "c\nc\nu\nd\n")
		update(with(base, values{"delete": "echo no; exit 4"}))
		_, err = p.Delete(p.ctx(), &rpc.DeleteRequest{Id: made.Id, Urn: urn(command_), Properties: state})
		equal(t, message(err), "Process exited with status 4: running \"echo no; exit 4\":\nno\n")
	})
}

func TestEnvironment(t *testing.T) {
	s, f := startSshd(t), startFake(t, nil)
	both(t, func(t *testing.T, p *provider) {
		const advice = `Unable to set '%s'. This only works if your SSH server is configured to accept
	these variables via AcceptEnv. Alternatively, if a Bash-like shell runs the command on the remote host, you could
	prefix the command itself with the variables in the form 'VAR=value command'`
		ran := filepath.Join(s.dir, p.name)
		equal(t, p.fails(s.args(values{"create": "touch " + ran, "environment": values{"COLOUR": "blue"}})),
			`could not set environment variable "COLOUR": ssh: setenv failed`)
		equal(t, p.logs(), []string{"error: " + fmt.Sprintf(advice, "COLOUR")})
		if _, err := os.Stat(ran); err == nil {
			t.Fatal("the command ran")
		}
		update := func(args values, state values) string {
			t.Helper()
			r, err := p.Update(p.ctx(), &rpc.UpdateRequest{
				Urn: urn(command_), Olds: wire(t, with(args, state)), News: p.checked(command_, args),
			})
			must(t, err)
			return unwire(t, r.Properties)["stdout"].(string)
		}
		before := values{"stdout": "before", "stderr": "also"}
		equal(t, update(s.args(values{"create": "echo again", "addPreviousOutputInEnv": nil}), before), "again")
		equal(t, sorted(p.logs()), []string{
			"info status: again",
			"warning: " + fmt.Sprintf(advice, "PULUMI_COMMAND_STDERR"),
			"warning: " + fmt.Sprintf(advice, "PULUMI_COMMAND_STDOUT"),
		})
		env := f.args(values{"create": "env", "environment": values{"COLOUR": "blue"}, "addPreviousOutputInEnv": nil})
		equal(t, update(env, before), "COLOUR=blue\nPULUMI_COMMAND_STDOUT=before\nPULUMI_COMMAND_STDERR=also")
		equal(t, update(with(env, values{"addPreviousOutputInEnv": false}), before), "COLOUR=blue")
	})
}

func TestKeepsOneConnectionPerCommandUntilItEnds(t *testing.T) {
	both(t, func(t *testing.T, p *provider) {
		f := startFake(t, nil)
		p.made(f.args(values{"create": "print a"}))
		p.fails(f.args(values{"create": "nonsense"}))
		open, accepted := f.connections()
		equal(t, []int{open, accepted}, []int{2, 2})
		eventually(t, "both have TCP keep-alive", func() bool {
			filter := fmt.Sprintf("( dport = :%d )", f.port())
			ss, err := exec.Command("ss", "-Htno", "state", "established", filter).Output()
			must(t, err)
			return strings.Count(string(ss), "timer:(keepalive") == 2
		})
		must(t, p.cmd.Process.Kill())
		eventually(t, "no connection is left", func() bool { open, _ := f.connections(); return open == 0 })
	})
}

func TestCancelAndTimeoutEndDialling(t *testing.T) {
	both(t, func(t *testing.T, p *provider) {
		properties := p.checked(command_, values{
			"create": "true", "connection": values{"host": "127.0.0.1", "port": freePort(t), "dialErrorLimit": -1}})
		_, err := p.Create(p.ctx(), &rpc.CreateRequest{Urn: urn(command_), Properties: properties, Timeout: 1})
		equal(t, message(err), "context deadline exceeded")
		matches(t, strings.Join(p.logs(), "\n"), "^info status: Dial 1/inf failed: retrying\ninfo status: Dial 2/inf")
		done := make(chan error, 1)
		go func() {
			_, err := p.Create(p.ctx(), &rpc.CreateRequest{Urn: urn(command_), Properties: properties})
			done <- err
		}()
		eventually(t, "it dials", func() bool { return len(p.logs()) > 0 })
		began := time.Now()
		_, err = p.Cancel(p.ctx(), &emptypb.Empty{})
		must(t, err)
		equal(t, message(<-done), "context canceled")
		if took := time.Since(began); took > 5*time.Second {
			t.Fatal(took)
		}
	})
}
