package state_test

import (
	"path/filepath"
	"testing"

	"waxseal/keystore/state"
	"waxseal/keystore/state/statetest"
)

func itself(s state.Store) state.Store { return s }

func TestContract(t *testing.T) {
	t.Run("bolt", func(t *testing.T) {
		statetest.Run(t, func(t *testing.T) state.Store {
			s, err := state.OpenBolt(filepath.Join(t.TempDir(), "state.db"))
			if err != nil {
				t.Fatal(err)
			}
			return s
		}, itself)
	})
	t.Run("memory", func(t *testing.T) {
		statetest.Run(t, func(*testing.T) state.Store { return state.NewMemory() }, itself)
	})
	t.Run("sealed", func(t *testing.T) {
		statetest.Run(t, func(*testing.T) state.Store { return state.SealedWithoutMark(state.NewMemory()) }, state.SealedWithoutMark)
	})
}
