package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strconv"
)

// Rekey changes the root secret, through the running waxseal or, without one, in this process.
func Rekey(ctx context.Context, c *Config, prune bool, stdout io.Writer) error {
	query := url.Values{"prune": {strconv.FormatBool(prune)}}
	body, err := ask(ctx, dataDir(c.DataDir), "POST", "/rekey?"+query.Encode())
	if err == nil {
		defer body.Close()
		_, err = io.Copy(stdout, body)
		return err
	}
	if !errors.Is(err, errNobodyServes) {
		return err
	}
	return withKeys(ctx, c, func(p *App) error {
		text, err := p.rekey(ctx, c, thisOperator(), prune)
		if err != nil {
			return err
		}
		_, err = io.WriteString(stdout, text)
		return err
	})
}

// rekey records the change of the root secret, and changes it.
func (p *App) rekey(ctx context.Context, c *Config, who string, prune bool) (text string, err error) {
	if err := c.errShared("rekey"); err != nil { // the other replicas would not have the new secret
		return "", err
	}
	e := operatorEvent{name: "Rekey", params: map[string]any{"prune": prune}}
	err = p.recorded(ctx, c, who, e, func() error {
		text, err = p.changeSecret(ctx, prune)
		return err
	})
	return text, err
}

// changeSecret changes the root secret. If it is interrupted, the next call finishes the work.
func (p *App) changeSecret(ctx context.Context, prune bool) (string, error) {
	// Two at once would each see the records change under the other, and could prune a secret still needed.
	p.rekeying.Lock()
	defer p.rekeying.Unlock()
	fromFile := os.Getenv("WAXSEAL_ROOT_SECRET") == ""
	if fromFile {
		if err := p.secret.Rotate(); err != nil {
			return "", err
		}
	}
	n, err := p.rekeyLocal(ctx)
	if err != nil {
		return "", err
	}
	if err := p.ServiceKeys.Reseal(ctx); err != nil {
		return "", err
	}
	if err := p.BucketKeys.Reseal(ctx); err != nil {
		return "", err
	}
	if _, err := p.state.Reseal(ctx); err != nil {
		return "", err
	}
	if fromFile && prune {
		if err := p.secret.Prune(); err != nil {
			return "", err
		}
	}
	if err := p.dir.keepFingerprint(p.secret); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d records of the key service and all service keys are sealed under the newest root secret\n", n), nil
}

// rekeyLocal seals the embedded key service's records again. An external key service has none.
func (p *App) rekeyLocal(ctx context.Context) (int, error) {
	if p.KeyService == nil {
		return 0, nil
	}
	return p.KeyService.Rekey(ctx)
}
