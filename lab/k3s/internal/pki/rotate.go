package pki

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Rotate puts a node's certificates and their keys away, so that the next start makes new ones; authorities stay. Like k3s it does not
// look whether k3s runs.
func Rotate(dataDir string) error {
	moved := 0
	for _, part := range []struct{ folder, from string }{{"server", "tls"}, {"agent", "."}} {
		folder := filepath.Join(dataDir, part.folder)
		files, err := leaves(filepath.Join(folder, part.from))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			continue
		}
		backup := filepath.Join(folder, "tls-"+strconv.FormatInt(time.Now().Unix(), 10))
		if err := putAway(filepath.Join(folder, part.from), backup, files); err != nil {
			return err
		}
		moved += len(files)
		logrus.Infof("Successfully backed up certificates to %s, please restart k3s server or agent to rotate certificates", backup)
	}
	if moved == 0 {
		return fmt.Errorf("no certificates below %s", dataDir)
	}
	return nil
}

// leaves are the certificates and keys below a folder, without those of authorities, as paths from it.
func leaves(folder string) ([]string, error) {
	var found []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path == folder {
			return fs.SkipAll
		}
		if err != nil {
			return err
		}
		if entry.IsDir() {
			// Earlier backups, and what else an agent's folder has.
			if path != folder && !slices.Contains([]string{"etcd", "temporary-certs"}, entry.Name()) {
				return fs.SkipDir
			}
			return nil
		}
		if base, ok := strings.CutSuffix(path, ".crt"); ok && !strings.HasSuffix(base, "-ca") {
			for _, file := range []string{path, base + ".key"} {
				name, err := filepath.Rel(folder, file)
				if err != nil {
					return err
				}
				found = append(found, name)
			}
		}
		return nil
	})
	return found, err
}

func putAway(from, to string, files []string) error {
	for _, file := range files {
		data, err := os.ReadFile(filepath.Join(from, file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := WriteFile(filepath.Join(to, file), data, 0o600); err != nil {
			return err
		}
		if err := os.Remove(filepath.Join(from, file)); err != nil {
			return err
		}
	}
	return nil
}
