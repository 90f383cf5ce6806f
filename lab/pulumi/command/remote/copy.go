package remote

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"github.com/pkg/sftp"
	p "github.com/pulumi/pulumi-go-provider"
	"github.com/pulumi/pulumi-go-provider/infer"
	"github.com/pulumi/pulumi-go-provider/infer/types"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
)

// CopyToRemote copies a file to a host, as the login user. It removes nothing.
type CopyToRemote struct{}

// CopyToRemoteInputs are what to copy and where to.
type CopyToRemoteInputs struct {
	Connection *Connection          `pulumi:"connection" provider:"secret"`
	Source     types.AssetOrArchive `pulumi:"source"`
	RemotePath string               `pulumi:"remotePath"`
	Triggers   *[]any               `pulumi:"triggers,optional" provider:"replaceOnChanges"`
}

// CopyToRemoteOutputs are the inputs.
type CopyToRemoteOutputs struct{ CopyToRemoteInputs }

// Check takes what the official provider takes, and of that only files: the program sends nothing else.
func (*CopyToRemote) Check(ctx context.Context, r infer.CheckRequest) (infer.CheckResponse[CopyToRemoteInputs], error) {
	inputs, failures, err := infer.DefaultCheck[CopyToRemoteInputs](ctx, r.NewInputs)
	refuse := func(property, reason string) {
		failures = append(failures, p.CheckFailure{Property: property, Reason: reason})
	}
	switch asset, archive := inputs.Source.Asset, inputs.Source.Archive; {
	case asset == nil && archive == nil:
		refuse("asset", "either asset or archive must be set")
	case asset != nil && !asset.IsPath() && !asset.IsText():
		refuse("asset", "asset must be a path-based file asset or a text asset")
	case archive != nil && !archive.IsPath():
		refuse("archive", "archive must be a path to a file or directory")
	case asset == nil || !asset.IsPath():
		refuse("source", "the lab's plugin for command copies files only (lab/pulumi/command)")
	}
	return infer.CheckResponse[CopyToRemoteInputs]{Inputs: inputs, Failures: failures}, err
}

// Create copies.
func (*CopyToRemote) Create(ctx context.Context, r infer.CreateRequest[CopyToRemoteInputs]) (
	response infer.CreateResponse[CopyToRemoteOutputs], err error,
) {
	response.Output.CopyToRemoteInputs = r.Inputs
	if r.DryRun {
		return response, nil
	}
	if err = r.Inputs.copy(ctx); err == nil {
		response.ID, err = resource.NewUniqueHex("", 8, 0)
	}
	return response, err
}

// Update copies again if the content or the path is another; a changed connection alone copies nothing.
func (*CopyToRemote) Update(ctx context.Context, r infer.UpdateRequest[CopyToRemoteInputs, CopyToRemoteOutputs]) (
	response infer.UpdateResponse[CopyToRemoteOutputs], err error,
) {
	response.Output.CopyToRemoteInputs = r.Inputs
	was := r.State.Source.Asset
	same := was != nil && was.Hash == r.Inputs.Source.Asset.Hash && r.Inputs.RemotePath == r.State.RemotePath
	if !r.DryRun && !same {
		err = r.Inputs.copy(ctx)
	}
	return response, err
}

func (c *CopyToRemoteInputs) copy(ctx context.Context) error {
	client, err := c.Connection.dial(ctx)
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // all is written by then
	files, err := sftp.NewClient(client, sftp.UseConcurrentWrites(true))
	if err != nil {
		return err
	}
	return put(files, c.Source.Asset.Path, c.RemotePath)
}

// put copies a file: into a remote folder that is there, else to the remote path, in place.
func put(files *sftp.Client, local, remote string) error {
	from, err := os.Open(local)
	if err != nil {
		return err
	}
	defer from.Close() //nolint:errcheck // read only
	switch there, err := files.Stat(remote); {
	case errors.Is(err, fs.ErrNotExist):
		if err := files.MkdirAll(path.Dir(remote)); err != nil {
			return fmt.Errorf("failed to create parent directories for %s: %w", remote, err)
		}
	case err != nil:
		return fmt.Errorf("failed to stat remote path %s: %w", remote, err)
	case there.IsDir():
		remote = path.Join(remote, path.Base(local))
	}
	to, err := files.Create(remote)
	if err != nil {
		return fmt.Errorf("failed to create remote file %s: %w", remote, err)
	}
	defer to.Close() //nolint:errcheck // each write was answered
	if _, err := to.ReadFrom(from); err != nil {
		return fmt.Errorf("failed to copy file %s to remote path %s: %w", local, remote, err)
	}
	return nil
}
