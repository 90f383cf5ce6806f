package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/pulumi/pulumi/sdk/v3/go/common/resource"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/archive"
	"github.com/pulumi/pulumi/sdk/v3/go/common/resource/asset"
	rpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/protobuf/types/known/structpb"
)

func textAsset(t *testing.T, text string) resource.PropertyValue {
	t.Helper()
	a, err := asset.FromText(text)
	must(t, err)
	return resource.NewProperty(a)
}

// fileOf is a file with this content; the same one for the same content.
func fileOf(t *testing.T, content string) resource.PropertyValue {
	t.Helper()
	path := filepath.Join(os.TempDir(), "k3s-ha-command-test-"+content)
	must(t, os.WriteFile(path, []byte(content), 0o600))
	t.Cleanup(func() { os.Remove(path) })
	return fileAsset(t, path)
}

func fileAsset(t *testing.T, path string) resource.PropertyValue {
	t.Helper()
	a, err := asset.FromPath(path)
	must(t, err)
	return resource.NewProperty(a)
}

func remoteAsset() resource.PropertyValue {
	return resource.NewProperty(&asset.Asset{Sig: asset.AssetSig, URI: "https://127.0.0.1/x", Hash: "h"})
}

func folder(t *testing.T, path string) resource.PropertyValue {
	t.Helper()
	a, err := archive.FromPath(path)
	must(t, err)
	return resource.NewProperty(a)
}

func assetArchive(t *testing.T) resource.PropertyValue {
	t.Helper()
	a, err := archive.FromAssets(values{"a": textAsset(t, "x").AssetValue()})
	must(t, err)
	return resource.NewProperty(a)
}

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return string(b)
}

func TestCopies(t *testing.T) {
	s := startSshd(t)
	from := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(from, "tree/sub"), 0o755))
	must(t, os.WriteFile(filepath.Join(from, "tree/sub/f"), []byte("inner"), 0o600))
	must(t, os.WriteFile(filepath.Join(from, "tree/g"), []byte("outer"), 0o644))
	both(t, func(t *testing.T, p *provider) {
		in := func(name string) string { return filepath.Join(t.TempDir(), name) }
		put := func(source resource.PropertyValue, path string) (*rpc.CreateResponse, error) {
			t.Helper()
			return p.createOf(copy_, values{"connection": s.connection(nil), "source": source, "remotePath": path})
		}
		done := func(source resource.PropertyValue, path string) *structpb.Struct {
			t.Helper()
			r, err := put(source, path)
			must(t, err)
			matches(t, r.Id, "^[0-9a-f]{8}$")
			return r.Properties
		}
		refused := func(source resource.PropertyValue, path string) string {
			t.Helper()
			_, err := put(source, path)
			if err == nil {
				t.Fatal("no error")
			}
			return message(err)
		}
		file := in("deep/er/file")
		state := done(fileOf(t, "hello"), file)
		equal(t, content(t, file), "hello")
		equal(t, unwire(t, state)["source"], words(fileOf(t, "hello")))
		done(fileOf(t, "hi"), file)
		equal(t, content(t, file), "hi")
		there := filepath.Dir(file)

		done(fileAsset(t, filepath.Join(from, "tree/g")), there) // into the folder
		equal(t, content(t, there+"/g"), "outer")
		done(fileAsset(t, filepath.Join(from, "tree/g")), there+"/new/h")
		equal(t, content(t, there+"/new/h"), "outer")
		mode, err := os.Stat(there + "/new/h")
		must(t, err)
		equal(t, mode.Mode().Perm(), os.FileMode(0o644))
		equal(t, refused(fileOf(t, "x"), there+"/g/h"),
			"failed to create parent directories for "+there+"/g/h: mkdir "+there+"/g: not a directory")
		if p.name == lab {
			for _, other := range []resource.PropertyValue{textAsset(t, "x"), folder(t, from)} {
				_, failures := p.check(copy_, values{"connection": s.connection(nil), "source": other, "remotePath": there})
				equal(t, failures, []string{"source: the lab's plugin for command copies files only (lab/pulumi/command)"})
			}
			return
		}

		done(textAsset(t, "hello"), file)
		equal(t, content(t, file), "hello")
		equal(t, refused(textAsset(t, "x"), there),
			"remote path "+there+" is a directory; when using a text asset, remotePath must be a file path")
		done(folder(t, filepath.Join(from, "tree")), there) // by its name
		equal(t, content(t, there+"/tree/sub/f"), "inner")
		done(folder(t, filepath.Join(from, "tree")+"/"), there+"/a/b") // its content
		equal(t, content(t, there+"/a/b/sub/f"), "inner")
		done(folder(t, filepath.Join(from, "tree")+"/"), there+"/a/b")
		equal(t, refused(folder(t, filepath.Join(from, "tree")), there+"/g"),
			"failed to create remote directory "+there+"/g/tree: file does not exist")
		must(t, os.WriteFile(there+"/a/tree", nil, 0o600))
		equal(t, refused(folder(t, filepath.Join(from, "tree")), there+"/a"),
			"remote path "+there+"/a/tree exists but is not a directory")
		equal(t, refused(folder(t, filepath.Join(from, "tree")+"/"), there+"/a/tree"),
			"remote path "+there+"/a/tree exists but is not a directory")
	})
}

func TestCopiesAgainIfContentOrPathIsAnother(t *testing.T) {
	s := startSshd(t)
	both(t, func(t *testing.T, p *provider) {
		at := filepath.Join(t.TempDir(), "f")
		base := values{"connection": s.connection(nil), "source": fileOf(t, "one"), "remotePath": at}
		made, err := p.createOf(copy_, base)
		must(t, err)
		state := made.Properties
		update := func(change values) {
			t.Helper()
			r, err := p.Update(p.ctx(), &rpc.UpdateRequest{
				Id: made.Id, Urn: urn(copy_), Olds: state, News: p.checked(copy_, with(base, change))})
			must(t, err)
			state = r.Properties
		}
		update(values{"source": fileOf(t, "two")})
		equal(t, content(t, at), "two")
		update(values{"source": fileOf(t, "two"), "remotePath": at + "2"})
		equal(t, content(t, at+"2"), "two")
		must(t, os.Remove(at+"2"))
		// Nobody connects for the rest: a new connection alone copies nothing, and nothing is removed.
		gone := s.connection(values{"port": 1, "dialErrorLimit": 0})
		update(values{"source": fileOf(t, "two"), "remotePath": at + "2", "connection": gone})
		_, err = os.Stat(at + "2")
		equal(t, os.IsNotExist(err), true)
		_, err = p.Delete(p.ctx(), &rpc.DeleteRequest{Id: made.Id, Urn: urn(copy_), Properties: state})
		must(t, err)
		equal(t, content(t, at), "two")
	})
}

func TestCopyClosesItsConnection(t *testing.T) {
	both(t, func(t *testing.T, p *provider) {
		f := startFake(t, nil) // without sftp
		_, err := p.createOf(copy_, values{"connection": f.connection(nil), "source": fileOf(t, "x"), "remotePath": "/x"})
		equal(t, message(err), "ssh: subsystem request failed")
		eventually(t, "no connection is left", func() bool { open, _ := f.connections(); return open == 0 })
	})
}
