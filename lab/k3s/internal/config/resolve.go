package config

import (
	"flag"
	"fmt"
	"io"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Settings are the resolved values of one role.
type Settings struct {
	role   string
	kinds  map[string]Kind
	values map[string][]string
	set    map[string]bool
	// Given is the role and what it was started with, the files' keys as --key=value before the arguments.
	Given []string
	// Warnings holds what k3s logs and then ignores, such as unknown keys in a server's configuration file.
	Warnings []string
}

// value adapts one key to the flag package, whose messages k3s's own parser shares.
type value struct {
	s       *Settings
	name    string
	fromCLI bool
}

func (v *value) String() string {
	if v.s == nil {
		return ""
	}
	return strings.Join(v.s.values[v.name], ",")
}

func (v *value) IsBoolFlag() bool { return v.s != nil && v.s.kinds[v.name] == Bool }

func (v *value) Set(x string) error { return v.s.assign(v.name, x) }

func (s *Settings) assign(name, x string) error {
	switch s.kinds[name] {
	case Bool:
		if _, err := strconv.ParseBool(x); err != nil {
			return fmt.Errorf("parse error")
		}
	case Int:
		if _, err := strconv.Atoi(x); err != nil {
			return fmt.Errorf("parse error")
		}
	case Duration:
		if _, err := time.ParseDuration(x); err != nil {
			return fmt.Errorf("parse error")
		}
	case List:
		if s.set[name] {
			s.values[name] = append(s.values[name], x)
			return nil
		}
	}
	s.values[name] = []string{x}
	s.set[name] = true
	return nil
}

// Resolve merges defaults, environment, configuration files and arguments of a role.
// Errors: an unknown flag ("flag provided but not defined: -x"), for an agent also an unknown key of the
// configuration file; a value of the wrong type; an unreadable file.
func Resolve(role string, args []string, getenv func(string) string) (*Settings, error) {
	s := &Settings{role: role, kinds: map[string]Kind{}, values: map[string][]string{}, set: map[string]bool{}}
	fs := flag.NewFlagSet(role, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	all := KeysOf(role)
	for _, k := range all {
		s.kinds[k.Name] = k.Kind
		fs.Var(&value{s: s, name: k.Name}, k.Name, "")
		if k.Alias != "" {
			fs.Var(&value{s: s, name: k.Name}, k.Alias, "")
		}
	}

	file, required := configFile(args, getenv)
	entries, err := ReadFiles(file, required)
	if err != nil {
		return nil, err
	}
	var merged []string
	for _, e := range entries {
		if fs.Lookup(e.Key) == nil && role == "server" {
			s.Warnings = append(s.Warnings, fmt.Sprintf("Unknown flag --%s found in config.yaml, skipping", e.Key))
			continue
		}
		for _, v := range e.Values {
			merged = append(merged, "--"+e.Key+"="+v)
		}
	}
	s.Given = append(append([]string{role}, merged...), args...)
	if err := fs.Parse(append(merged, args...)); err != nil {
		return nil, err
	}
	if fs.NArg() > 0 {
		return nil, fmt.Errorf("invalid flag use: unexpected argument %q", fs.Arg(0))
	}
	for _, k := range all {
		if s.set[k.Name] {
			continue
		}
		for _, e := range k.Env {
			if v := getenv(e); v != "" {
				if err := s.assign(k.Name, v); err != nil {
					return nil, fmt.Errorf("invalid value %q for environment variable %s: %w", v, e, err)
				}
			}
		}
		if !s.set[k.Name] && k.Default != "" {
			s.values[k.Name] = []string{k.Default}
		}
	}
	return s, nil
}

func configFile(args []string, getenv func(string) string) (string, bool) {
	if v := getenv("K3S_CONFIG_FILE"); v != "" {
		return v, true
	}
	for i, a := range args {
		for _, f := range []string{"--config", "-config", "-c", "--c"} {
			if a == f && i+1 < len(args) {
				return args[i+1], true
			}
			if v, ok := strings.CutPrefix(a, f+"="); ok {
				return v, true
			}
		}
	}
	return defaults["config"], false
}

// Flag lets arguments under these names replace a key's value.
func (s *Settings) Flag(fs *flag.FlagSet, key string, names ...string) {
	s.known(key)
	for _, name := range names {
		fs.Var(&value{s: s, name: key}, name, "")
	}
}

// IsSet tells whether a value was given anywhere (not only by default).
func (s *Settings) IsSet(name string) bool { return s.set[name] }

// String returns a value, "" when there is none.
func (s *Settings) String(name string) string {
	s.known(name)
	v := s.values[name]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// Bool returns a boolean, false when unset.
func (s *Settings) Bool(name string) bool { b, _ := strconv.ParseBool(s.String(name)); return b }

// Int returns a number, 0 when unset.
func (s *Settings) Int(name string) int { n, _ := strconv.Atoi(s.String(name)); return n }

// Duration returns a duration, 0 when unset.
func (s *Settings) Duration(name string) time.Duration {
	d, _ := time.ParseDuration(s.String(name))
	return d
}

// List returns all values as given.
func (s *Settings) List(name string) []string {
	s.known(name)
	return append([]string(nil), s.values[name]...)
}

// Split returns a list whose items may themselves be comma-separated, as k3s reads node-ip, tls-san, the CIDRs and
// disable.
func (s *Settings) Split(name string) []string {
	var out []string
	for _, v := range s.List(name) {
		for _, p := range strings.Split(v, ",") {
			if p = strings.TrimSpace(p); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// Secret returns a key's value, or the trimmed content of the file that KEY-file names.
func (s *Settings) Secret(name string) (string, error) {
	if v := s.String(name); v != "" {
		return v, nil
	}
	f := s.String(name + "-file")
	if f == "" {
		return "", nil
	}
	b, err := os.ReadFile(f)
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b)), nil
}

func (s *Settings) known(name string) {
	if _, ok := s.kinds[name]; !ok {
		panic("config: " + s.role + " has no key " + name)
	}
}

// ComponentArgs merges k3s's defaults for a component with `name=value` items: an item replaces the default of its
// name, `name+=value` appends to it with a comma, and a name given twice is passed twice. Defaults cannot be removed.
func ComponentArgs(base map[string]string, items []string) []string {
	args := map[string][]string{}
	for k, v := range base {
		args[k] = []string{v}
	}
	given := map[string]bool{}
	for _, item := range items {
		name, v, _ := strings.Cut(strings.TrimPrefix(item, "--"), "=")
		if n, add := strings.CutSuffix(name, "+"); add {
			if old := args[n]; len(old) > 0 && old[len(old)-1] != "" {
				v = old[len(old)-1] + "," + v
			}
			args[n] = []string{v}
			given[n] = true
		} else if given[name] {
			args[name] = append(args[name], v)
		} else {
			args[name] = []string{v}
			given[name] = true
		}
	}
	var out []string
	for name, vs := range args {
		for _, v := range vs {
			out = append(out, "--"+name+"="+v)
		}
	}
	name := func(a string) string { n, _, _ := strings.Cut(a, "="); return n }
	sort.SliceStable(out, func(i, j int) bool { return name(out[i]) < name(out[j]) })
	return out
}

// ArgValue returns the value of the last `name=...` item and whether there is one.
func ArgValue(items []string, name string) (string, bool) {
	for i := len(items) - 1; i >= 0; i-- {
		n, v, _ := strings.Cut(strings.TrimPrefix(items[i], "--"), "=")
		if strings.TrimSuffix(n, "+") == name {
			return v, true
		}
	}
	return "", false
}
