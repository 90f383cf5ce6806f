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
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemote copies a file, a folder or a text to a host by SFTP, as the login user. It removes nothing.
type CopyToRemote struct{}

// CopyToRemoteInputs are the arguments of a CopyToRemote.
type CopyToRemoteInputs struct {
	Connection *Connection          `pulumi:"connection"        provider:"secret"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
	Triggers   *[]any               `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CopyToRemoteOutputs are its state.
type CopyToRemoteOutputs struct{ CopyToRemoteInputs }

// Check takes a file, a text, or an archive that is a path.
func (*CopyToRemote) Check(
	ctx context.Context, req infer.CheckRequest,
) (infer.CheckResponse[CopyToRemoteInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyToRemoteInputs](ctx, req.NewInputs)
	refuse := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	asset, archive := inputs.Source.Asset, inputs.Source.Archive
	switch {
	case err != nil:
	case asset != nil && archive != nil:
		refuse("asset", "only one of asset or archive can be set")
	case asset == nil && archive == nil:
		refuse("asset", "either asset or archive must be set")
	case asset != nil && !asset.IsPath() && !asset.IsText():
		refuse("asset", "asset must be a path-based file asset or a text asset")
	case archive != nil && !archive.IsPath():
		refuse("archive", "archive must be a path to a file or directory")
	}
	return infer.CheckResponse[CopyToRemoteInputs]{Inputs: inputs, Failures: failures}, err
}

// Create copies.
func (*CopyToRemote) Create(
	ctx context.Context, req infer.CreateRequest[CopyToRemoteInputs],
) (infer.CreateResponse[CopyToRemoteOutputs], error) {
	response := infer.CreateResponse[CopyToRemoteOutputs]{Output: CopyToRemoteOutputs{req.Inputs}}
	if req.DryRun {
		return response, nil
	}
	err := req.Inputs.copy(ctx)
	if err == nil {
		response.ID, err = resource.NewUniqueHex("", 8, 0)
	}
	return response, err
}

// Update copies again if the content or the path is another; a changed connection alone copies nothing.
func (*CopyToRemote) Update(
	ctx context.Context, req infer.UpdateRequest[CopyToRemoteInputs, CopyToRemoteOutputs],
) (infer.UpdateResponse[CopyToRemoteOutputs], error) {
	response := infer.UpdateResponse[CopyToRemoteOutputs]{Output: CopyToRemoteOutputs{req.Inputs}}
	same := req.Inputs.hash() == req.State.hash() && req.Inputs.RemotePath == req.State.RemotePath
	if req.DryRun || same {
		return response, nil
	}
	return response, req.Inputs.copy(ctx)
}

func (in *CopyToRemoteInputs) hash() string {
	if in.Source.Archive != nil {
		return in.Source.Archive.Hash
	}
	return in.Source.Asset.Hash
}

func (in *CopyToRemoteInputs) copy(ctx context.Context) error {
	client, err := in.Connection.dial(ctx)
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
	switch {
	case in.Source.Archive != nil:
		return to.put(in.Source.Archive.Path, in.RemotePath)
	case in.Source.Asset.IsText():
		return to.putText(in.Source.Asset.Text, in.RemotePath)
	default:
		return to.put(in.Source.Asset.Path, in.RemotePath)
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

func (t target) parents(file string) error {
	if err := t.MkdirAll(path.Dir(file)); err != nil {
		return fmt.Errorf("failed to create parent directories for %s: %w", file, err)
	}
	return nil
}

// write overwrites in place.
func (t target) write(file string, content io.Reader, failed string) error {
	to, err := t.Create(file)
	if err != nil {
		return fmt.Errorf("failed to create remote file %s: %w", file, err)
	}
	defer to.Close() //nolint:errcheck // each write was answered
	if _, err := to.ReadFrom(content); err != nil {
		return fmt.Errorf("failed to %s to remote path %s: %w", failed, file, err)
	}
	return nil
}

func (t target) putText(text, file string) error {
	there, err := t.stat(file)
	if err != nil {
		return err
	}
	if there != nil && there.IsDir() {
		return fmt.Errorf(
			"remote path %s is a directory; when using a text asset, remotePath must be a file path", file)
	}
	if err := t.parents(file); err != nil {
		return err
	}
	return t.write(file, strings.NewReader(text), "write text content")
}

func (t target) putFile(local, file string) error {
	from, err := os.Open(local)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	return t.write(file, from, "copy file "+local)
}

// put copies a file or a folder. A file goes into a folder that is there; a folder goes into the remote path by its
// name, or by its content if its path ends in a slash.
func (t target) put(local, remote string) error {
	source, err := os.Stat(local)
	if err != nil {
		return err
	}
	there, err := t.stat(remote)
	if err != nil {
		return err
	}
	if !source.IsDir() {
		switch {
		case there == nil:
			err = t.parents(remote)
		case there.IsDir():
			remote = path.Join(remote, filepath.Base(local))
		}
		if err != nil {
			return err
		}
		return t.putFile(local, remote)
	}
	if there == nil {
		if err := t.MkdirAll(remote); err != nil {
			return fmt.Errorf("failed to create remote directory %s: %w", remote, err)
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
			return t.folder(path.Join(remote, below))
		}
		return t.putFile(file, path.Join(remote, below))
	})
}

func (t target) folder(name string) error {
	there, err := t.stat(name)
	switch {
	case err != nil:
		return err
	case there == nil:
		if err := t.Mkdir(name); err != nil {
			return fmt.Errorf("failed to create remote directory %s: %w", name, err)
		}
	case !there.IsDir():
		return fmt.Errorf("remote path %s exists but is not a directory", name)
	}
	return nil
}
