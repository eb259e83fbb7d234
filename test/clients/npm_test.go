package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// leastNode is the oldest Node.js that the npm clients are tested with.
const leastNode = 20

// install is the one line that gives who has none of it what is missing.
const install = "sudo apt-get install -y nodejs npm curl && npm ci --prefix test/clients"

// requireTools fails a test that needs programs which are not there. It does not
// skip: a run without the npm clients would say nothing about them.
func requireTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing; run: %s", name, install)
		}
		if name != "node" {
			continue
		}
		out, err := exec.Command("node", "--version").Output()
		must(t, err)
		major, _, _ := strings.Cut(strings.TrimPrefix(string(out), "v"), ".")
		if n, err := strconv.Atoi(major); err != nil || n < leastNode {
			t.Fatalf("node is %s, and the clients need %d; run: %s", strings.TrimSpace(string(out)), leastNode, install)
		}
		if _, err := os.Stat("node_modules/centrifuge/package.json"); err != nil {
			t.Fatalf("the npm packages are missing; run: npm ci --prefix test/clients")
		}
	}
}

// The npm client has tests in its own language, in the folder npm. They ask for
// servers, tokens and cuts at an address that they are given.
func TestNPM(t *testing.T) {
	t.Parallel()
	requireTools(t, "node")
	files, err := filepath.Glob("npm/*.test.mjs")
	must(t, err)
	cmd := exec.Command("node", append([]string{"--test", "--test-concurrency=4", "--test-timeout=100000"}, files...)...)
	cmd.Env = append(environment(), "KITH_TEST_CONTROL="+control(t, everybody.node(t)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("node --test: %v\n%s", err, out)
		return
	}
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "# pass ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// What is installed comes from wherever npm is told to get it, and is what the
// lock says byte for byte.
func TestTheLockNamesNoRegistry(t *testing.T) {
	lock, err := os.ReadFile("package-lock.json")
	must(t, err)
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json says where packages were downloaded from; .npmrc keeps that out of it")
	}
	if packages := strings.Count(string(lock), `"node_modules/`); strings.Count(string(lock), `"integrity"`) != packages {
		t.Errorf("not each of the %d packages in package-lock.json has its hash", packages)
	}
}
