package main

import "fmt"

// Money is in millionths of a dollar. Every published price of a request is a whole number of millionths, so that
// sums are exact and no bill is off by a rounding.
type Money int64

// Dollar is a US dollar.
const Dollar Money = 1_000_000

// String prints whole cents, as a bill does.
func (m Money) String() string {
	cents := (m + Dollar/200) / (Dollar / 100)
	return fmt.Sprintf("$%d.%02d", cents/100, cents%100)
}

// Dollars is for plots.
func (m Money) Dollars() float64 { return float64(m) / float64(Dollar) }

// Class is a price class of KMS requests. https://aws.amazon.com/kms/pricing/
type Class int

// The classes of contract.md 1.5.
const (
	Symmetric   Class = iota // GenerateDataKey, Decrypt, Encrypt, ... with symmetric keys
	RSA2048                  // asymmetric requests with RSA-2048 keys
	Asymmetric               // all further asymmetric requests
	ECCDataPair              // GenerateDataKeyPair, ECC
	RSADataPair              // GenerateDataKeyPair, RSA
)

// Prices of a deployment, published in US dollars.
const (
	KeyMonth     = Dollar // each customer managed key
	FreeRequests = 20_000 // each month; symmetric requests only
	billedUnit   = 10_000 // requests of a published price
)

// per10000 are the prices of ten thousand requests, in cents.
var per10000 = map[Class]int64{Symmetric: 3, RSA2048: 3, Asymmetric: 15, ECCDataPair: 10, RSADataPair: 1200}

// Price returns the price of a request.
func (c Class) Price() Money { return Money(per10000[c]) * Dollar / 100 / billedUnit }

// Month is a KMS's usage in a month.
type Month struct {
	Keys     int64 // customer managed keys; AWS managed and owned keys are free
	Requests map[Class]int64
}

// Bill is a month's bill.
type Bill struct {
	Keys, Requests, Total Money
	Billed                int64 // requests beyond the free tier
}

// SymmetricMonth is a month of keys and requests as S3 makes them.
func SymmetricMonth(keys, requests int64) Month {
	return Month{Keys: keys, Requests: map[Class]int64{Symmetric: requests}}
}

// Bill adds a month up. The free requests are spent on symmetric requests: the published free tier leaves out
// asymmetric keys and data key pairs.
func (m Month) Bill() Bill {
	b := Bill{Keys: Money(m.Keys) * KeyMonth}
	for class, n := range m.Requests {
		if class == Symmetric {
			n -= min(n, FreeRequests)
		}
		b.Billed += n
		b.Requests += Money(n) * class.Price()
	}
	b.Total = b.Keys + b.Requests
	return b
}
