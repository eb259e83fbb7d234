package messages
import ("testing";"unicode/utf16";"strings")
func old(s string) (n int) { for _, r := range s { n += utf16.RuneLen(r) }; return n }
func TestZ(t *testing.T){ for _,s := range []string{"","abc","äöü","日本","😀a😀","\U0010ffff"} { if old(s)!=utf16Units(s) {t.Error(s)} } }
var sink int
func BenchmarkOld(b *testing.B){ s:=strings.Repeat("See you at the station at half past six. ", 4)[:128]; for b.Loop(){ sink+=old(s)} }
func BenchmarkNew(b *testing.B){ s:=strings.Repeat("See you at the station at half past six. ", 4)[:128]; for b.Loop(){ sink+=utf16Units(s)} }
