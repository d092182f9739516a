package iam

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// slowGlob defines a pattern's meaning, in the shortest way.
func slowGlob(p, s []rune, fold bool) bool {
	switch {
	case len(p) == 0:
		return len(s) == 0
	case p[0] == anyRun:
		return slowGlob(p[1:], s, fold) || len(s) > 0 && slowGlob(p, s[1:], fold)
	}
	return len(s) > 0 && (p[0] == anyRune || same(p[0], s[0], fold)) && slowGlob(p[1:], s[1:], fold)
}

func TestGlobMeansWhatItSays(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	text := func(alphabet string, n int) string {
		letters := []rune(alphabet)
		var b strings.Builder
		for range n {
			b.WriteRune(letters[random.IntN(len(letters))])
		}
		return b.String()
	}
	matched := 0
	for range 50_000 {
		s := []rune(text("aAbé", random.IntN(16)))
		p := wild(text("aabé?*", random.IntN(10)))
		fold := random.IntN(2) == 0
		got := glob(p, s, fold)
		if got != slowGlob(p, s, fold) {
			t.Fatalf("%v matches %q: %t", p, string(s), got)
		}
		if got {
			matched++
		}
	}
	// Pieces of several words, with and without a place where they fit.
	for range 300 {
		piece := text("aaaaaab?", 60+random.IntN(150))
		inside := text("ab", random.IntN(50)) + strings.ReplaceAll(piece, "?", "é") + text("ab", random.IntN(50))
		p, s := wild("*"+piece+"*"), []rune(inside)
		if !glob(p, s, false) || !glob(p, []rune(strings.ToUpper(inside)), true) {
			t.Fatalf("%q does not match %q", piece, inside)
		}
		i := 1 + random.IntN(len(piece))
		if p[i] != anyRune {
			p[i] = 'x'
			if glob(p, s, false) {
				t.Fatalf("%v matches %q", p, inside)
			}
		}
	}
	if matched < 1000 {
		t.Errorf("only %d matches: the test tests little", matched)
	}
}

// TestCostOfPolicies evaluates the most expensive policies on the longest values. The bounds are far above the time
// needed, and far below the time of a search in each place.
func TestCostOfPolicies(t *testing.T) {
	half := strings.Repeat("a", 9000)
	like := func(operands string) string {
		return `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringLike":{"aws:UserAgent":[` + operands + `]}}}]}`
	}
	missing := ""
	for i := range 2000 {
		missing += fmt.Sprintf(`,"k:missing%d":"v"`, i)
	}
	many := Values{}
	for i := range 50_000 {
		many.Set(fmt.Sprint("k:present", i), "v")
	}
	agent := Values{}
	agent.Set("aws:UserAgent", strings.Repeat("a", 30_000))
	for name, test := range map[string]struct {
		policy string
		values Values
	}{
		"long pieces":                  {like(`"*` + half + `b*","*` + half + `c*"`), agent},
		"long pieces of any character": {like(`"*` + half + `?b*","*?` + half + `c*"`), agent},
		"a long end":                   {like(`"*` + half + `b","*` + half + `c"`), agent},
		"short pieces":                 {like(`"*aaab*"` + strings.Repeat(`,"*aaab*"`, 300)), agent},
		"keys that are not there":      {`{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*","Condition":{"StringEqualsIfExists":{` + missing[1:] + `}}}]}`, many},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := ParsePolicy([]byte(test.policy), Options{})
			if err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			p.Evaluate(&Request{Action: "s3:GetObject", Resource: "arn:aws:s3:::b/k", Conditions: test.values})
			if took := time.Since(begun); took > time.Second && !raceDetector { // the race detector takes ten times as long
				t.Errorf("one evaluation took %s", took)
			} else {
				t.Log(took)
			}
		})
	}
}
