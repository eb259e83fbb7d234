package feature_test

import (
	"testing"

	"kith/actors/entity"
	"kith/actors/feature"
	"kith/actors/sim"
)

func TestEveryFeatureAgreesWithItsContract(t *testing.T) {
	if _, err := entity.New(feature.All...); err != nil {
		t.Error(err)
	}
}

func TestScripts(t *testing.T) { sim.RunScripts(t, "*/*.txt", feature.All...) }
