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
