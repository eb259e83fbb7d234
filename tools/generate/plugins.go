package main

import (
	"bytes"
	"errors"
	"fmt"
	"runtime/debug"

	// Each registers itself under the name that vtFeatures lists.
	_ "github.com/planetscale/vtprotobuf/features/clone"
	_ "github.com/planetscale/vtprotobuf/features/marshal"
	_ "github.com/planetscale/vtprotobuf/features/size"
	_ "github.com/planetscale/vtprotobuf/features/unmarshal"
	"github.com/planetscale/vtprotobuf/generator"
	"google.golang.org/protobuf/cmd/protoc-gen-go/internal_gengo"
	"google.golang.org/protobuf/compiler/protogen"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/pluginpb"
)

const vtModule = "github.com/planetscale/vtprotobuf"

// No pool: a message that goes back to a pool while an actor, an event or an
// overlay still holds it is a bug that no test finds.
var vtFeatures = []string{"marshal", "unmarshal", "size", "clone"}

// runPlugins returns the generated files by their paths from the repository's
// root.
func runPlugins(request *pluginpb.CodeGeneratorRequest) (map[string][]byte, error) {
	request, err := overWire(request)
	if err != nil {
		return nil, err
	}
	fresh := map[string][]byte{}
	for _, plugin := range []func(*protogen.Plugin) error{runGo, runVT} {
		if err := runPlugin(request, plugin, fresh); err != nil {
			return nil, err
		}
	}
	return pinVersion(fresh)
}

// overWire gives the plugins what a plugin process would read: our own options
// are unknown bytes to it, in the order of the .proto file, and not messages.
func overWire(request *pluginpb.CodeGeneratorRequest) (*pluginpb.CodeGeneratorRequest, error) {
	wire, err := proto.MarshalOptions{Deterministic: true}.Marshal(request)
	if err != nil {
		return nil, fmt.Errorf("encode the plugins' request: %w", err)
	}
	var read pluginpb.CodeGeneratorRequest
	if err := proto.Unmarshal(wire, &read); err != nil {
		return nil, fmt.Errorf("decode the plugins' request: %w", err)
	}
	return &read, nil
}

func runPlugin(request *pluginpb.CodeGeneratorRequest, plugin func(*protogen.Plugin) error, fresh map[string][]byte) error {
	gen, err := protogen.Options{}.New(request)
	if err != nil {
		return fmt.Errorf("read the plugins' request: %w", err)
	}
	if err := plugin(gen); err != nil {
		return err
	}
	response := gen.Response()
	if response.Error != nil {
		return errors.New(response.GetError())
	}
	for _, f := range response.File {
		if _, ok := fresh[f.GetName()]; ok {
			return fmt.Errorf("%s is generated twice", f.GetName())
		}
		fresh[f.GetName()] = []byte(f.GetContent())
	}
	return nil
}

func runGo(gen *protogen.Plugin) error {
	for _, f := range gen.Files {
		if f.Generate {
			internal_gengo.GenerateFile(gen, f)
		}
	}
	gen.SupportedFeatures = internal_gengo.SupportedFeatures
	gen.SupportedEditionsMinimum = internal_gengo.SupportedEditionsMinimum
	gen.SupportedEditionsMaximum = internal_gengo.SupportedEditionsMaximum
	return nil
}

func runVT(gen *protogen.Plugin) error {
	vt, err := generator.NewGenerator(gen, vtFeatures, &generator.Config{
		Poolable:        generator.NewObjectSet(),
		PoolableExclude: generator.NewObjectSet(),
	})
	if err != nil {
		return fmt.Errorf("set up vtproto: %w", err)
	}
	vt.Generate()
	return nil
}

// pinVersion names the plugin's own version where vtproto names that of the
// program it is linked into, which differs between go run, go build and go test.
func pinVersion(fresh map[string][]byte) (map[string][]byte, error) {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return nil, errors.New("this program was built without module information; use go run or go build")
	}
	var version string
	for _, m := range info.Deps {
		if m.Path == vtModule {
			version = m.Version
		}
	}
	if version == "" {
		return nil, fmt.Errorf("this program does not know the version of %s it was built with", vtModule)
	}
	line := func(v string) []byte { return []byte("// protoc-gen-go-vtproto version: " + v + "\n") }
	for name, content := range fresh {
		fresh[name] = bytes.Replace(content, line(info.Main.Version), line(version), 1)
	}
	return fresh, nil
}
