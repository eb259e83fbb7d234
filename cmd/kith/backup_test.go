package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"kith/actors/entity"
	"kith/actors/pb"
	"kith/gateway/auth"
	"kith/storage"
)

// history is every text of a conversation, by seq.
func (s *served) history(t *testing.T, conversation json.Number) map[uint64]string {
	t.Helper()
	texts := map[uint64]string{}
	for after, more := uint64(0), true; more; {
		var page struct {
			Events []struct {
				Seq  uint64
				Body struct {
					Content struct{ Text struct{ Text string } }
				}
			}
			More bool `json:"more_after"`
		}
		s.do(t, "bob", "Messages.History", fmt.Sprintf(`{"conversation_id":%s,"after":%d}`, conversation, after), &page)
		for _, e := range page.Events {
			texts[e.Seq], after = e.Body.Content.Text.Text, e.Seq
		}
		more = page.More
	}
	return texts
}

// epoch is what the server says of a conversation's log.
func (s *served) epoch(t *testing.T, conversation json.Number) string {
	t.Helper()
	number, _ := s.host.Tenant("demo")
	id, err := conversation.Int64()
	must(t, err)
	bob := entity.Caller{Tenant: number, User: "bob", Number: entity.UserNumber(number, "bob"), Device: "cli"}
	at := make(chan entity.Position, 1)
	s.host.Positions(bob, []entity.Ref{entity.Conversation(number, uint64(id))}, func(p []entity.Position) { at <- p[0] })
	p := <-at
	if p.Err != nil {
		t.Fatal(p.Err)
	}
	return p.Epoch
}

// withKeys is a new data folder with the keys of a node and nothing else.
func (s *served) withKeys(t *testing.T) string {
	t.Helper()
	data := filepath.Join(t.TempDir(), "restored")
	must(t, os.MkdirAll(filepath.Join(data, "keys"), 0o700))
	key, err := os.ReadFile(auth.OwnKeyPath(s.dir, "demo"))
	must(t, err)
	must(t, os.WriteFile(auth.OwnKeyPath(data, "demo"), key, 0o600))
	return data
}

// A backup is taken while people talk. What is made of it has everything that was
// acknowledged before, no holes, and another epoch.
func TestABackupUnderLoadIsRestored(t *testing.T) {
	s := serve(t, filepath.Join(t.TempDir(), "data"))
	conversation := s.direct(t)
	const talkers, before = 3, 10
	stop, warm := make(chan struct{}), make(chan struct{}, talkers)
	var mu sync.Mutex // guards acknowledged
	acknowledged := map[uint64]string{}
	var talking sync.WaitGroup
	for talker := range talkers {
		talking.Go(func() {
			for n := 0; ; n++ {
				text := fmt.Sprintf("%d of talker %d", n, talker)
				seq := s.say(t, "ann", conversation, text)
				mu.Lock()
				acknowledged[seq] = text
				mu.Unlock()
				if n == before {
					warm <- struct{}{}
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for range talkers {
		<-warm
	}
	mu.Lock()
	want := maps.Clone(acknowledged)
	mu.Unlock()
	dest := filepath.Join(t.TempDir(), "backup")
	var out bytes.Buffer
	err := (&BackupCmd{AdminFlags: s.admin(), Dest: dest, JSON: true}).run(&out)
	close(stop)
	talking.Wait()
	must(t, err)
	if !strings.HasPrefix(out.String(), `{"dir":"`+dest+`","took_ms":`) {
		t.Errorf("kith backup printed %s", out.String())
	}
	must(t, (&VerifyCmd{Dir: dest, Most: 10}).run(&out, &out))
	old, oldEpoch := s.history(t, conversation), s.epoch(t, conversation)

	data := s.withKeys(t)
	must(t, (&RestoreCmd{Src: dest, Dest: data}).run(&out, &out))
	again := serve(t, data)
	got := again.history(t, conversation)
	if len(got) < len(want) || len(got) > len(old) {
		t.Errorf("%d messages were restored; there were %d before the backup, and %d in the end", len(got), len(want), len(old))
	}
	for seq, text := range want {
		if got[seq] != text {
			t.Errorf("message %d was acknowledged before the backup as %q and is %q", seq, text, got[seq])
		}
	}
	for seq, text := range got {
		if old[seq] != text {
			t.Errorf("message %d is %q and was %q", seq, text, old[seq])
		}
	}
	if epoch := again.epoch(t, conversation); epoch == oldEpoch {
		t.Errorf("the epoch is %s still", epoch)
	}
	again.end(t)
	must(t, (&VerifyCmd{Dir: data, Most: 10}).run(&out, &out)) // Dense, too.
}

func TestWhatCannotBeBackedUpOrRestoredSaysWhy(t *testing.T) {
	s := serve(t, filepath.Join(t.TempDir(), "data"))
	taken := t.TempDir()
	var out bytes.Buffer
	err := (&BackupCmd{AdminFlags: s.admin(), Dest: taken}).run(&out)
	if err == nil || exitCode(err) != exitRefused || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a backup into a directory that exists: %v", err)
	}
	if err := (&BackupCmd{AdminFlags: AdminFlags{Addr: "127.0.0.1:1"}, Dest: taken}).run(&out); err == nil || exitCode(err) != exitError {
		t.Errorf("a backup without a server: %v", err)
	}
	good := filepath.Join(t.TempDir(), "good")
	must(t, (&BackupCmd{AdminFlags: s.admin(), Dest: good}).run(&out))
	full := t.TempDir()
	must(t, os.WriteFile(filepath.Join(full, "letter"), nil, 0o600))
	for _, c := range []struct{ name, src, dest, want string }{
		{"a store that is served", s.dir, filepath.Join(taken, "a"), "another process has it open, or this one"},
		{"no store", taken, filepath.Join(taken, "a"), "there is no store in " + taken},
		{"a folder with something in it", good, full, "is not empty: it has letter"},
	} {
		if err := (&RestoreCmd{Src: c.src, Dest: c.dest}).run(&out, &out); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if err := (&VerifyCmd{Dir: s.dir}).run(&out, &out); err == nil || !strings.Contains(err.Error(), "stop that one first") {
		t.Errorf("a store that is served was verified: %v", err)
	}
}

// damaged is a data folder of a stopped server whose store has damage of two kinds.
func damaged(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := serve(t, dir)
	conversation := s.direct(t)
	s.say(t, "ann", conversation, "hello")
	s.end(t)
	id, err := conversation.Int64()
	must(t, err)
	ref := entity.Conversation(1, uint64(id))
	key := binary.BigEndian.AppendUint16(nil, ref.Shard())
	key = entity.Key(key).U32(1)
	key = entity.Key(append(key, byte(pb.Kind_CONVERSATION))).U64(ref.ID)
	log, strange := slices.Concat(key, entity.Key{1}.U64(1)), slices.Concat(key, []byte{0xEF, 0xFF})
	db, err := storage.Open(storage.Config{Dir: filepath.Join(dir, storeFolder), MustExist: true, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, db.Commit([]entity.Write{{Key: log}, {Key: strange, Val: []byte{}}}))
	must(t, db.Close())
	return dir
}

func TestDamageIsReportedAndNotRestored(t *testing.T) {
	dir := damaged(t)
	var out bytes.Buffer
	err := (&VerifyCmd{Dir: dir, Most: 100}).run(&out, &out)
	if err == nil || err.Error() != "the store has 2 problems" || exitCode(err) != exitError {
		t.Errorf("kith verify = %v\n%s", err, out.String())
	}
	for _, want := range []string{": events 1 to 1 are missing\n", ": a row is in the table 0x6fff, which this program does not know\n", "; problems: 2\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := (&VerifyCmd{Dir: dir, Most: 1, JSON: true}).run(&out, &out); err == nil {
		t.Error("as JSON nothing is wrong")
	}
	var report verifyReport
	must(t, json.Unmarshal(out.Bytes(), &report))
	if report.OK || report.Counts.Problems != 2 || len(report.Problems) != 1 || !strings.HasPrefix(report.Problems[0].Entity, "1/CONVERSATION/") {
		t.Errorf("the report is %+v", report)
	}
	to := filepath.Join(t.TempDir(), "new")
	err = (&RestoreCmd{Src: dir, Dest: to}).run(&out, &out)
	if err == nil || !strings.Contains(err.Error(), "the copy has 2 problems, the first: 1/CONVERSATION/") {
		t.Errorf("what is damaged was restored: %v", err)
	}
	if _, err := os.Stat(to); err == nil {
		t.Error("something was restored")
	}
	must(t, (&RestoreCmd{Src: dir, Dest: to, NoVerify: true}).run(&out, &out))
}

func TestDeadLettersAreListedAndReplayed(t *testing.T) {
	dir := t.TempDir()
	serve(t, dir).end(t)
	from, to := entity.Conversation(1, 7), entity.User(1, "ann")
	key := entity.Key(binary.BigEndian.AppendUint16(nil, from.Shard())).U32(0)
	key = append(key, 0, 7) // Kind 0, table of the dead letters.
	for _, ref := range []entity.Ref{from, to} {
		key = append(key.U32(uint32(ref.Tenant)), byte(ref.Kind)).U64(ref.ID)
	}
	row := &pb.DeadLetter{
		Tell:   &pb.Outbox{Method: "Dialogs.Hid", User: "ann", Request: []byte{0x08}, At: 1_800_000_000_000},
		Reason: "it panics", ParkedAt: 1_800_000_060_000,
	}
	val, err := row.MarshalVT()
	must(t, err)
	db, err := storage.Open(storage.Config{Dir: filepath.Join(dir, storeFolder), MustExist: true, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	must(t, db.Commit([]entity.Write{{Key: key.U64(1), Val: val}}))
	must(t, db.Close())

	s := serve(t, dir)
	list := func(json bool) string {
		var out bytes.Buffer
		must(t, (&DeadLettersListCmd{AdminFlags: s.admin(), JSON: json}).run(&out))
		return out.String()
	}
	if text := list(false); !strings.Contains(text, "Dialogs.Hid  1/CONVERSATION/7  user  it panics\n") {
		t.Errorf("the list is\n%s", text)
	}
	if text := list(true); !strings.HasPrefix(text, `{"total":1,"letters":[{"from":"1/CONVERSATION/7","to":"USER","number":1,"method":"Dialogs.Hid","reason":"it panics","sent":"2027-01-15T08:00:00Z"`) ||
		strings.Contains(text, "ann") {
		t.Errorf("the list is\n%s", text)
	}
	var out bytes.Buffer
	must(t, (&DeadLettersReplayCmd{AdminFlags: s.admin(), JSON: true}).run(&out))
	if out.String() != "{\"replayed\":1}\n" {
		t.Errorf("replay printed %s", out.String())
	}
}

func TestTheVersionSaysWhatReadsTheStore(t *testing.T) {
	var text, line bytes.Buffer
	must(t, (&VersionCmd{}).run(&text))
	must(t, (&VersionCmd{JSON: true}).run(&line))
	if !strings.Contains(text.String(), "kith dev (go1.") || !strings.Contains(text.String(), "storage format 1") {
		t.Errorf("printed %s", text.String())
	}
	var said struct {
		Version, Go   string
		StorageFormat int `json:"storage_format"`
	}
	must(t, json.Unmarshal(line.Bytes(), &said))
	if said.Version != "dev" || said.StorageFormat != storage.FormatVersion || said.Go == "" {
		t.Errorf("printed %s", line.String())
	}
}
