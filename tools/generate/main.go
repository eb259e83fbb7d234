// Generate turns every .proto file below actors/ into Go code in actors/pb,
// or beside its source if its go_package says so.
//
// It needs Go and nothing else: the compiler is protocompile and the two
// plugins (protoc-gen-go and protoc-gen-go-vtproto) are linked in, so go.sum
// pins everything that decides a byte of the output. Two runs over the same
// sources write the same bytes; CI relies on it:
//
//	go run ./generate -root ..          # write what is stale, remove what is left over
//	go run ./generate -root .. -check   # write nothing, fail if anything would be written
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "the repository's root, which holds actors/")
	check := flag.Bool("check", false, "write nothing; fail and name the files that are not fresh")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "generate: takes no arguments, only flags; got %q\n", flag.Args())
		os.Exit(2)
	}
	if err := run(*root, *check); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

func run(root string, check bool) error {
	sources, err := findSources(root)
	if err != nil {
		return err
	}
	request, err := compile(context.Background(), root, sources)
	if err != nil {
		return err
	}
	fresh, err := runPlugins(request)
	if err != nil {
		return err
	}
	drift, err := compare(root, fresh)
	if err != nil {
		return err
	}
	if check {
		return drift.err()
	}
	return drift.repair(root, fresh)
}
