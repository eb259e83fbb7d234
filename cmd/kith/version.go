package main

import (
	"fmt"
	"io"
	"os"
	"runtime"

	"kith/gateway/httpapi"
	"kith/storage"
)

// VersionCmd says what this program is.
type VersionCmd struct {
	JSON bool `name:"json" help:"Print it as one line of JSON."`
}

// Run prints it.
func (c *VersionCmd) Run() error { return c.run(os.Stdout) }

func (c *VersionCmd) run(out io.Writer) error {
	build := httpapi.ThisBuild(version)
	if c.JSON {
		return printJSON(out, struct {
			httpapi.Build
			StorageFormat int    `json:"storage_format"`
			OS            string `json:"os"`
			Arch          string `json:"arch"`
		}{build, storage.FormatVersion, runtime.GOOS, runtime.GOARCH})
	}
	commit := ""
	if build.Commit != "" {
		commit = ", commit " + build.Commit
		if build.Modified {
			commit += " and changes"
		}
		if build.Committed != "" {
			commit += " of " + build.Committed
		}
	}
	_, err := fmt.Fprintf(out, "kith %s (%s, %s/%s, storage format %d%s)\n", build.Version, build.Go, runtime.GOOS, runtime.GOARCH, storage.FormatVersion, commit)
	return err
}
