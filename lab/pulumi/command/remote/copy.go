package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemoteInputs is what remote.CopyToRemote is told. It copies as the login user and removes nothing.
type CopyToRemoteInputs struct {
	Connection Connection `pulumi:"connection"`
	Source     any        `pulumi:"source"`
	RemotePath string     `pulumi:"remotePath"`
	Triggers   *[]any     `pulumi:"triggers,optional"`
}

// checkCopy takes a file, a text, or an archive that is a path.
func checkCopy(inputs values) []p.CheckFailure {
	_, failures := decode[CopyToRemoteInputs](inputs, false)
	source := inputs["source"]
	if source.IsSecret() {
		source = source.SecretValue().Element
	}
	refuse := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	switch {
	case source.IsAsset():
		if a := source.AssetValue(); !a.IsPath() && !a.IsText() {
			refuse("asset", "asset must be a path-based file asset or a text asset")
		}
	case source.IsArchive():
		if !source.ArchiveValue().IsPath() {
			refuse("archive", "archive must be a path to a file or directory")
		}
	default:
		refuse("asset", "either asset or archive must be set")
	}
	return failures
}

func createCopy(ctx context.Context, _ string, inputs values, preview bool) (string, values, error) {
	if preview {
		return "", previewed(inputs, "source"), nil
	}
	if err := copyToRemote(ctx, inputs); err != nil {
		return "", nil, err
	}
	id, err := resource.NewUniqueHex("", 8, 0)
	return id, inputs, err
}

// updateCopy copies again if the content or the path is another; a changed connection alone copies nothing.
func updateCopy(ctx context.Context, state, inputs values, preview bool) (values, error) {
	same := hash(state) == hash(inputs) && text(state["remotePath"]) == text(inputs["remotePath"])
	if preview && differs(state, inputs) {
		return previewed(inputs, "source"), nil
	}
	if preview || same {
		return inputs, nil
	}
	return inputs, copyToRemote(ctx, inputs)
}

func removeCopy(context.Context, values) error { return nil }

func hash(m values) string {
	switch source := plain("", m["source"]); {
	case source.IsAsset():
		return source.AssetValue().Hash
	case source.IsArchive():
		return source.ArchiveValue().Hash
	}
	return ""
}

func copyToRemote(ctx context.Context, inputs values) error {
	c, err := arguments[CopyToRemoteInputs](inputs)
	if err != nil {
		return err
	}
	client, err := c.Connection.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // all is written by then
	files, err := sftp.NewClient(client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return err
	}
	defer files.Close() //nolint:errcheck // all is written by then
	to := target{files}
	source := plain("", inputs["source"])
	switch {
	case source.IsArchive():
		return to.put(source.ArchiveValue().Path, c.RemotePath)
	case source.AssetValue().IsText():
		return to.putText(source.AssetValue().Text, c.RemotePath)
	default:
		return to.put(source.AssetValue().Path, c.RemotePath)
	}
}

// target is the host's file system.
type target struct{ *sftp.Client }

// stat gives nil for what does not exist.
func (t target) stat(file string) (fs.FileInfo, error) {
	info, err := t.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("failed to stat remote path %s: %w", file, err)
	}
	return info, nil
}

// write overwrites in place. What failed is told with what.
func (t target) write(what, file string, content io.Reader) error {
	to, err := t.Create(file)
	if err != nil {
		return fmt.Errorf("failed to create remote file %s: %w", file, err)
	}
	defer to.Close() //nolint:errcheck // each write was answered
	if _, err := to.ReadFrom(content); err != nil {
		return fmt.Errorf("failed to %s to remote path %s: %w", what, file, err)
	}
	return nil
}

// parents makes the folders above a file.
func (t target) parents(file string) error {
	if err := t.MkdirAll(path.Dir(file)); err != nil {
		return fmt.Errorf("failed to create parent directories for %s: %w", file, err)
	}
	return nil
}

// folder makes a folder in one that exists.
func (t target) folder(name string, mkdir func(string) error) error {
	switch there, err := t.stat(name); {
	case err != nil:
		return err
	case there == nil:
		if err := mkdir(name); err != nil {
			return fmt.Errorf("failed to create remote directory %s: %w", name, err)
		}
	case !there.IsDir():
		return fmt.Errorf("remote path %s exists but is not a directory", name)
	}
	return nil
}

func (t target) putText(text, file string) error {
	there, err := t.stat(file)
	if err != nil {
		return err
	}
	if there != nil && there.IsDir() {
		return fmt.Errorf("remote path %s is a directory; when using a text asset, remotePath must be a file path", file)
	}
	if err := t.parents(file); err != nil {
		return err
	}
	return t.write("write text content", file, strings.NewReader(text))
}

func (t target) putFile(local, file string) error {
	from, err := os.Open(local)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	return t.write("copy file "+local, file, from)
}

// put copies a file or a folder. A file goes into a folder that is there; a folder goes into the remote path by its
// name, or by its content if its path ends in a slash.
func (t target) put(local, remote string) error {
	source, err := os.Stat(local)
	if err != nil {
		return err
	}
	there, err := t.stat(remote)
	switch {
	case err != nil:
		return err
	case source.IsDir():
		return t.putFolder(local, remote, there)
	case there == nil:
		if err := t.parents(remote); err != nil {
			return err
		}
	case there.IsDir():
		remote = path.Join(remote, filepath.Base(local))
	}
	return t.putFile(local, remote)
}

func (t target) putFolder(local, remote string, there fs.FileInfo) error {
	if there == nil {
		if err := t.folder(remote, t.MkdirAll); err != nil {
			return err
		}
	}
	if !strings.HasSuffix(local, "/") {
		remote = path.Join(remote, filepath.Base(local))
	}
	return filepath.WalkDir(local, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(local, file)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return t.folder(path.Join(remote, below), t.Mkdir)
		}
		return t.putFile(file, path.Join(remote, below))
	})
}
