package conversation

import (
	"fmt"
	"testing"

	"kith/actors/pb"
)

func TestIntervalsStayRisingAndApart(t *testing.T) {
	cases := []struct {
		name     string
		readable []*pb.Interval
		from     uint64
		want     string
	}{
		{"the first", nil, 7, "[7,0]"},
		{"after a gap", []*pb.Interval{{From: 1, Through: 5}}, 7, "[1,5][7,0]"},
		{"without a gap", []*pb.Interval{{From: 1, Through: 5}}, 6, "[1,0]"},
		{"history shown again", []*pb.Interval{{From: 3, Through: 5}}, 1, "[1,0]"},
		{"over two", []*pb.Interval{{From: 3, Through: 5}, {From: 8, Through: 9}}, 1, "[1,0]"},
		{"a third", []*pb.Interval{{From: 3, Through: 5}, {From: 8, Through: 9}}, 12, "[3,5][8,9][12,0]"},
	}
	for _, c := range cases {
		got := ""
		for _, in := range open(c.readable, c.from) {
			got += fmt.Sprintf("[%d,%d]", in.From, in.Through)
		}
		if got != c.want {
			t.Errorf("%s: intervals = %s, want %s", c.name, got, c.want)
		}
	}
}
