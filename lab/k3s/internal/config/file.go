package config

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"gopkg.in/yaml.v2"
)

// Entry is one key of the configuration files after all drop-ins were applied.
type Entry struct {
	Key    string
	Values []string
}

// ReadFiles reads the configuration file and FILE.d/*.yaml|*.yml in name order. A later file replaces the whole
// key; `key+` appends to it. A missing main file is an error only when required.
func ReadFiles(file string, required bool) ([]Entry, error) {
	var files []string
	if _, err := os.Stat(file); err == nil {
		files = append(files, file)
	} else if required || !os.IsNotExist(err) {
		return nil, err
	}
	dropIns, err := os.ReadDir(file + ".d")
	if err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	var names []string
	for _, d := range dropIns {
		if !d.IsDir() && (strings.HasSuffix(d.Name(), ".yaml") || strings.HasSuffix(d.Name(), ".yml")) {
			names = append(names, d.Name())
		}
	}
	sort.Strings(names)
	for _, n := range names {
		files = append(files, filepath.Join(file+".d", n))
	}

	var order []string
	values := map[string][]string{}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			return nil, err
		}
		// yaml.v2 speaks YAML 1.1, as k3s does: 0644 is the number 420, yes is true.
		var doc yaml.MapSlice
		if err := yaml.Unmarshal(data, &doc); err != nil {
			return nil, fmt.Errorf("%s: %w", f, err)
		}
		for _, item := range doc {
			key, add := strings.CutSuffix(text(item.Key), "+")
			if _, seen := values[key]; !seen {
				order = append(order, key)
			} else if add {
				values[key] = append(values[key], texts(item.Value)...)
				continue
			}
			values[key] = texts(item.Value)
		}
	}
	entries := make([]Entry, 0, len(order))
	for _, k := range order {
		entries = append(entries, Entry{Key: k, Values: values[k]})
	}
	return entries, nil
}

func text(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func texts(v any) []string {
	list, ok := v.([]any)
	if !ok {
		return []string{text(v)}
	}
	out := make([]string, 0, len(list))
	for _, e := range list {
		out = append(out, text(e))
	}
	return out
}
