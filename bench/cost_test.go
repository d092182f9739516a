package main

import "testing"

// TestDeck has the two examples of the source deck, to the cent.
func TestDeck(t *testing.T) {
	for _, c := range []struct {
		name        string
		month       Month
		want        Money
		text        string
		billed      int64
		requestCost Money
	}{
		{"EBS: 1 key, 250 volumes of 3 calls", SymmetricMonth(1, 250*3), Dollar, "$1.00", 0, 0},
		{"S3: 1 key, 10,000 writes, 2,000,000 reads", SymmetricMonth(1, 10_000+2_000_000), 6_970_000, "$6.97", 1_990_000, 5_970_000},
	} {
		b := c.month.Bill()
		if b.Total != c.want || b.Total.String() != c.text || b.Billed != c.billed || b.Requests != c.requestCost {
			t.Errorf("%s: %+v, %s; want %d, %s", c.name, b, b.Total, c.want, c.text)
		}
	}
}

func TestPrices(t *testing.T) {
	for class, per10000 := range map[Class]Money{
		Symmetric: 30_000, RSA2048: 30_000, Asymmetric: 150_000, ECCDataPair: 100_000, RSADataPair: 12 * Dollar,
	} {
		if got := class.Price() * billedUnit; got != per10000 {
			t.Errorf("class %d: 10,000 requests cost %d, not %d", class, got, per10000)
		}
		free := int64(0)
		if class == Symmetric {
			free = FreeRequests
		}
		m := Month{Requests: map[Class]int64{class: free + billedUnit}}
		if got := m.Bill(); got.Total != per10000 || got.Billed != billedUnit {
			t.Errorf("class %d: a month's 10,000 beyond the free ones: %+v", class, got)
		}
	}
}

func TestMoneyText(t *testing.T) {
	for m, want := range map[Money]string{0: "$0.00", 4_999: "$0.00", 5_000: "$0.01", 999_999: "$1.00", 12_345_678: "$12.35"} {
		if m.String() != want {
			t.Errorf("%d: %s, not %s", m, m, want)
		}
	}
}
