package clients

import (
	"bytes"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// leastMajor and leastMinor are the oldest Node.js that the npm clients are tested
// with: that of Debian 12. Before 18.19 its test runner cannot be told how many
// files to run at once.
const leastMajor, leastMinor = 18, 19

// install is the one line that gives who has none of it what is missing.
const install = "sudo apt-get install -y nodejs npm curl chromium && npm ci --prefix test/clients"

// requireTools fails a test that needs programs which are not there. It does not
// skip: a run without the npm clients would say nothing about them.
func requireTools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing; run: %s", name, install)
		}
	}
}

// requireNode is requireTools for Node.js and the npm packages.
func requireNode(t testing.TB) {
	t.Helper()
	requireTools(t, "node")
	requirePackages(t)
	out, err := exec.Command("node", "--version").Output()
	must(t, err)
	var major, minor int
	_, err = fmt.Sscanf(string(out), "v%d.%d", &major, &minor)
	if err != nil || major < leastMajor || major == leastMajor && minor < leastMinor {
		t.Fatalf("node is %s, and the clients need v%d.%d; run: %s", bytes.TrimSpace(out), leastMajor, leastMinor, install)
	}
}

// requirePackages is requireTools for what npm installs.
func requirePackages(t testing.TB) {
	t.Helper()
	if _, err := os.Stat("node_modules/centrifuge/package.json"); err != nil {
		t.Fatal("the npm packages are missing; run: npm ci --prefix test/clients")
	}
}

// The npm client has tests in its own language, in the folder npm. They ask for
// servers, tokens and cuts at an address that they are given.
func TestNPM(t *testing.T) {
	t.Parallel()
	requireNode(t)
	door := httptest.NewServer(control(t, everybody.node(t)))
	t.Cleanup(door.Close)
	cmd := exec.Command("node", append([]string{"--test", "--test-reporter=tap", "--test-concurrency=4"}, caseFiles(t)...)...)
	cmd.Env = append(environment(), "KITH_TEST_CONTROL="+door.URL)
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
