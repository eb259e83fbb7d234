package feature_test

import (
	"kith/actors/conversation"
	"kith/actors/entity"
	"kith/actors/pb"

	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"kith/actors/feature"
	"kith/actors/sim"
)

func TestZZMine(t *testing.T) {
	from, _ := strconv.Atoi(os.Getenv("FROM"))
	n, _ := strconv.Atoi(os.Getenv("N"))
	tally := map[string]sim.Tally{}
	kinds := map[string]int{}
	shown := 0
	for s := from; s < from+n; s++ {
		err := sim.Crash(sim.Run{Seed: uint64(s + 1), Steps: *steps, Tally: tally}, append(feature.All[:len(feature.All):len(feature.All)], letting)...)
		if err == nil {
			kinds["ok"]++
			continue
		}
		text := err.Error()
		kind := "other"
		for _, k := range []string{"Presence", "Dialogs.", "device of", "Receipts.", "Profiles", "Timers", "has dialogs", "in a log"} {
			if strings.Contains(text, k) {
				kind = k
				break
			}
		}
		kinds[kind]++
		if kind != "Presence" && shown < 4 {
			shown++
			fmt.Printf("%.1800s\n\n", text)
		}
	}
	fmt.Println(kinds, expired)
	for _, m := range []string{"Receipts.MarkRead", "Receipts.MarkDelivered", "Receipts.Readers", "Receipts.SetSharing", "Dialogs.Sync", "Dialogs.List", "Dialogs.SetPinned", "Dialogs.SetDraft", "Timers.SetAutoDelete"} {
		fmt.Println(m, tally[m])
	}
}

var expired int

var letting = entity.Feature{Name: "letting", Parts: []entity.Part{
	entity.After(func(tx *entity.Tx, edited *pb.MessageRevoked) error {
		if head := tx.Head().Seq; head%3 == 0 && tx.Caller().Device == "phone" {
			from := head / 3 * (head % 4)
			if conversation.Expire(tx, from, min(head-1, from+head%5)) {
				expired++
			}
		}
		return nil
	}),
}}
