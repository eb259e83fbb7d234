package entitytest

// The acts of a program, one function for each.

// Set makes the count of a key n.
func Set(key string, n int64) *Act { return &Act{What: &Act_Put{&Put{Key: key, N: n}}} }

// Drop deletes the count of a key.
func Drop(key string) *Act { return &Act{What: &Act_Delete{key}} }

// Add adds 1 to the count of a key and replies it.
func Add(key string) *Act { return &Act{What: &Act_Add{key}} }

// Get replies the count of a key.
func Get(key string) *Act { return &Act{What: &Act_Get{key}} }

// Scan replies the counts of the keys with a prefix, in order.
func Scan(prefix string) *Act { return &Act{What: &Act_Scan{prefix}} }

// Sum replies the sum of all counts.
func Sum() *Act { return &Act{What: &Act_Sum{true}} }

// Say emits a history event and replies its seq.
func Say(text string) *Act { return &Act{What: &Act_Say{text}} }

// Note emits a change about a Said and replies its seq.
func Note(seq uint64) *Act { return &Act{What: &Act_Note{seq}} }

// Pulse signals.
func Pulse(text string) *Act { return &Act{What: &Act_Pulse{text}} }

// Revise rewrites a Said.
func Revise(seq uint64, text string) *Act {
	return &Act{What: &Act_Rewrite{&Rewrite{Seq: seq, Text: text}}}
}

// ReviseAsNote rewrites a Said by a Noted, which is a bug.
func ReviseAsNote(seq uint64) *Act { return &Act{What: &Act_RewriteAsNote{seq}} }

// Quote replies what a Said says.
func Quote(seq uint64) *Act { return &Act{What: &Act_Quote{seq}} }

// To tells another counter of the tenant to run a program.
func To(counter uint64, acts ...*Act) *Act {
	return &Act{What: &Act_Tell{&Tell{CounterId: counter, Acts: acts}}}
}

// Panic panics.
func Panic(why string) *Act { return &Act{What: &Act_Panic{why}} }

// Refuse refuses with a code.
func Refuse(code uint32) *Act { return &Act{What: &Act_Refuse{code}} }

// Read reads n rows.
func Read(n uint32) *Act { return &Act{What: &Act_Read{n}} }

// Write writes n rows.
func Write(n uint32) *Act { return &Act{What: &Act_Write{n}} }

// Allow grants a user what he may read, and a number to sign by.
func Allow(g *Grant) *Act { return &Act{What: &Act_Grant{g}} }

// Now replies the time of the Step in unix milliseconds.
func Now() *Act { return &Act{What: &Act_Now{true}} }

// Mutate changes a frozen row, which is a bug.
func Mutate(key string) *Act { return &Act{What: &Act_Mutate{key}} }

// Later has a program run at a time, in unix milliseconds; a timer of the same
// key is replaced.
func Later(key string, at int64, acts ...*Act) *Act {
	return &Act{What: &Act_Later{&LaterRun{Key: key, At: at, Acts: acts}}}
}

// Cancel cancels the timer of a key.
func Cancel(key string) *Act { return &Act{What: &Act_Cancel{key}} }

// Cut deletes the counts of all keys with a prefix, as a range.
func Cut(prefix string) *Act { return &Act{What: &Act_Cut{prefix}} }

// DropEvents deletes a range of the log.
func DropEvents(from, through uint64) *Act {
	return &Act{What: &Act_Drop{&Dropped{From: from, Through: through}}}
}

// GoOn runs a program in another Step of the same counter.
func GoOn(acts ...*Act) *Act { return &Act{What: &Act_GoOn{&Tell{Acts: acts}}} }

// MarkRow puts a stamped row.
func MarkRow(key string) *Act { return &Act{What: &Act_Mark{key}} }

// Recall replies the stamp of a row, as it is seen.
func Recall(key string) *Act { return &Act{What: &Act_Recall{key}} }

// Ask replies the sum of another counter.
func Ask(counter uint64) *Act { return &Act{What: &Act_Ask{counter}} }

// Last emits the last event that ann hears.
func Last(text string) *Act { return &Act{What: &Act_Last{text}} }

// Whisper signals to ann only.
func Whisper(text string) *Act { return &Act{What: &Act_Whisper{text}} }

// Errand has something done outside.
func Errand(what string) *Act { return &Act{What: &Act_Errand{what}} }

// Log replies the seqs of the log.
func Log() *Act { return &Act{What: &Act_Log{true}} }
