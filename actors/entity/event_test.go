package entity_test

import (
	"bytes"
	"encoding/hex"
	"math"
	"os"
	"strings"
	"testing"

	"kith/actors/entity"
	. "kith/actors/entity/entitytest"
	"kith/actors/pb"
)

// The format of an event row is for ever: this is what old stores hold.
func TestTheFormatOfAnEventRowIsGolden(t *testing.T) {
	text, err := os.ReadFile("testdata/event_row.hex")
	if err != nil {
		t.Fatal(err)
	}
	// format 1, stamp 0x0807060504030201, HISTORY, number 0x7000, ordinal 3,
	// 300 above prev, at, by 5, key 0, origin, and a Said as the body.
	want, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	h := entity.Header{
		Class: pb.Class_HISTORY, Number: 0x7000, Ordinal: 3, Prev: 1000, At: 1772366400000, By: 5, Origin: 0x1122334455667788,
	}
	body := encode(&Said{Text: "hello"})
	got := entity.AppendEvent(1300, h, body)
	entity.PutStamp(got, 0x0807060504030201)
	if !bytes.Equal(got, want) {
		t.Errorf("row = %x, want %x", got, want)
	}
	read, rest, err := entity.ParseEvent(1300, want)
	if err != nil || read != h || !bytes.Equal(rest, body) {
		t.Errorf("read %+v %x %v, want %+v %x", read, rest, err, h, body)
	}
}

func FuzzParseEvent(f *testing.F) {
	h := entity.Header{Class: pb.Class_CHANGE, Number: 1, Ordinal: 1, Prev: 1, At: -1, By: math.MaxUint32, KeyID: math.MaxUint64, Origin: 1}
	f.Add(uint64(2), entity.AppendEvent(2, h, []byte("body")))
	f.Add(uint64(1), entity.AppendEvent(1, entity.Header{}, nil))
	f.Add(uint64(0), []byte{1})
	f.Fuzz(func(t *testing.T, seq uint64, row []byte) {
		h, body, err := entity.ParseEvent(seq, row)
		if err != nil {
			return
		}
		again := entity.AppendEvent(seq, h, body)
		copy(again[1:9], row[1:9]) // The stamp is not the header's.
		if !bytes.Equal(again, row) {
			t.Errorf("%x is read as %+v %x, which is written %x", row, h, body, again)
		}
		if h.Prev >= seq {
			t.Errorf("event %d comes after %d", seq, h.Prev)
		}
	})
}

func TestADamagedRowIsNoEvent(t *testing.T) {
	whole := entity.AppendEvent(7, entity.Header{Class: pb.Class_HISTORY, Number: 0x7000, Ordinal: 1, At: 1}, nil)
	for name, damage := range map[string]func(row []byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"a newer format":    func(row []byte) []byte { row[0] = 2; return row },
		"cut in the stamp":  func(row []byte) []byte { return row[:5] },
		"cut in the header": func(row []byte) []byte { return row[:12] },
		"cut in the origin": func(row []byte) []byte { return row[:len(row)-1] },
		"its own prev":      func(row []byte) []byte { row[14] = 0; return row },
		"prev below zero":   func(row []byte) []byte { row[14] = 8; return row },
		"a long number":     func(row []byte) []byte { return append(append(row[:10:10], 0x80, 0x80, 0x80, 0x80, 0x10), row[13:]...) },
		"a long signer":     func(row []byte) []byte { return append(append(row[:16:16], 0x80, 0x80, 0x80, 0x80, 0x10), row[17:]...) },
		"a padded varint":   func(row []byte) []byte { return append(append(row[:10:10], 0x80, 0xe0, 0x81, 0x00), row[13:]...) },
	} {
		if _, _, err := entity.ParseEvent(7, whole); err != nil {
			t.Fatalf("the whole row: %v", err)
		}
		if h, _, err := entity.ParseEvent(7, damage(bytes.Clone(whole))); err == nil {
			t.Errorf("%s: read as %+v", name, h)
		}
	}
}

// damage overwrites the stored row of an event, unseen by its entity.
func (w *world) damage(seq uint64, change func(row []byte) []byte) {
	w.Helper()
	key := entity.LogKey(one, seq)
	row, ok, err := w.store.Rows().Get(key)
	if !ok || err != nil {
		w.Fatalf("no event %d: %v", seq, err)
	}
	if err := w.store.Commit([]entity.Write{{Key: key, Val: change(row)}}); err != nil {
		w.Fatal(err)
	}
}

func TestABodyThatCannotBeReadPoisonsNothingElse(t *testing.T) {
	w := newWorld(t)
	w.must(Allow(&Grant{UserId: "ann", Number: 3, Readable: []*Span{{From: 1}}}))
	w.must(Say("a"), Say("b"), Say("c"), Note(2), Say("d"))
	unknown := func(row []byte) []byte {
		h, body, _ := entity.ParseEvent(2, row)
		h.Number = 0x7FFF
		return entity.AppendEvent(2, h, body)
	}
	for name, damage := range map[string]func([]byte) []byte{
		"an unknown number": unknown,
		"a damaged body":    func(row []byte) []byte { return append(row, 0xff) },
		"a sealed body": func(row []byte) []byte {
			h, body, _ := entity.ParseEvent(2, row)
			h.KeyID = 9
			return entity.AppendEvent(2, h, body)
		},
	} {
		whole, _, _ := w.store.Rows().Get(entity.LogKey(one, 2))
		w.damage(2, damage)
		e := w.event(2)
		if e.Body != nil || e.By != "ann" || e.At == 0 {
			t.Errorf("%s: %+v", name, e)
		}
		if wire := e.Wire(); wire.Type != 2 || len(wire.Body) > 0 || wire.Seq != 2 {
			t.Errorf("%s: on the wire %v, want Unreadable", name, wire)
		}
		page := w.replay(ann, 0, 10)
		if got := len(page.Events); got != 5 || page.Err != nil || page.Events[3].Body.(*Noted).Said != nil {
			t.Errorf("%s: %d events, %v", name, got, page.Err)
		}
		got := w.ask(&LookRequest{Before: 9, Limit: 9})
		wantNumbers(t, name+": messages", got.Seqs, 5, 3, 2, 1)
		wantNumbers(t, name+": messages after", w.ask(&LookRequest{After: 1, Limit: 9}).Seqs, 2, 3, 5)
		if out := w.do(Quote(2), Say("it goes on")); out.Err != nil || out.Reply.(*DoResponse).Texts[0] != "" {
			t.Errorf("%s: a command that reads it: %s", name, spell(out))
		}
		w.damage(2, func([]byte) []byte { return whole })
		w.damage(4, func(row []byte) []byte { return append(row, 0xff) })
		if page := w.replay(ann, 3, 10); len(page.Events) < 2 || page.Events[0].Body != nil || page.Err != nil {
			t.Errorf("%s: a change that cannot be read: %d events, %v", name, len(page.Events), page.Err)
		}
		w.damage(4, func(row []byte) []byte { return row[:len(row)-1] })
		w.rewind(5)
	}
}

// rewind makes a log end at a seq again.
func (w *world) rewind(seq uint64) {
	w.Helper()
	_, end := entity.Range(one, logTable)
	if err := w.store.Commit([]entity.Write{{Key: entity.LogKey(one, seq+1), End: end}}); err != nil {
		w.Fatal(err)
	}
	w.restart()
}

func TestADamagedHeaderIsAFault(t *testing.T) {
	w := newWorld(t)
	w.must(Say("a"), Say("b"))
	w.damage(2, func(row []byte) []byte { row[0] = 99; return row })
	page := w.replay(ann, 0, 10)
	wantCode(t, page.Err, entity.Internal)
	if page.Fault == nil || !strings.Contains(page.Fault.Error(), "event 2 of 1/CONVERSATION/1") || len(page.Events) > 0 {
		t.Errorf("the page: %v, %d events", page.Fault, len(page.Events))
	}
	p := w.reg.Position(w.store.Rows(), one, ann, &w.policy, 1)
	wantCode(t, p.Err, entity.Internal)
	if p.Fault == nil {
		t.Error("the position hides why")
	}
	if out := w.memory(one).Step(w.reg, w.call(ann, &DoRequest{CounterId: 1, Acts: []*Act{Quote(2)}}), w.turn); out.Fault == nil {
		t.Errorf("a command: %s", spell(out))
	}
	w.live = map[entity.Ref]*entity.Memory{}
	if out := w.memory(one).Step(w.reg, w.call(ann, &DoRequest{CounterId: 1, Acts: []*Act{Now()}}), w.turn); out.Fault == nil {
		t.Errorf("a cold command: %s", spell(out))
	}
	query := w.call(ann, &LookRequest{CounterId: 1, Before: 9, Limit: 1})
	if out := w.reg.Query(w.store.Rows(), query, w.turn); out.Fault == nil || out.Err == nil {
		t.Errorf("a query: %s", spell(out))
	}
}

func TestADamagedRowOfATableIsAFault(t *testing.T) {
	w := newWorld(t)
	w.must(Set("a", 1), Say("x"))
	key := entity.RowKey(one, countTable, entity.Key(nil).Str("a"))
	if err := w.store.Commit([]entity.Write{{Key: key, Val: []byte{0xff}}}); err != nil {
		t.Fatal(err)
	}
	w.live = map[entity.Ref]*entity.Memory{}
	out := w.memory(one).Step(w.reg, w.call(ann, &DoRequest{CounterId: 1, Acts: []*Act{Get("a")}}), w.turn)
	if out.Fault == nil || out.Err.Code != entity.Internal {
		t.Errorf("a damaged row: %s", spell(out))
	}
}
