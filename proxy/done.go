package proxy

import (
	"io"
	"time"
)

// done ends the call, unless its answer is still to be streamed: then the stream's Close does. What is left of a
// refused body is read only now, when the call holds nothing any more.
func (c *call) done() {
	if c.streaming {
		return
	}
	if err := c.recordDataEvent(); err != nil {
		c.fail(err) // a change that was made stays made; who asks again is recorded then
	}
	c.finish()
	if c.refused {
		c.drainRequest()
	}
}

func (c *call) finish() {
	c.endCharges()
	c.Close()
	c.abandon(nil)
	c.leavePlace()
	c.s.running.remove(c)
	if err := c.recordDataEvent(); err != nil { // of an answer that was streamed, with its bytes
		c.s.log.Error("an answer was sent and is not in the audit records", "id", c.id, "op", c.operation(), "err", err)
	}
	c.logAccess()
}

// drainRequest reads what is left of a refused body, within limits, so that the client can read the answer.
func (c *call) drainRequest() {
	if !c.unread {
		return
	}
	c.unread = false
	body := c.ctx.RequestBodyStream()
	if body == nil {
		return
	}
	c.ctx.SetReadDeadline(time.Now().Add(drainTime))
	n, err := io.CopyN(io.Discard, body, drainBytes)
	if err != io.EOF || n == drainBytes {
		c.ctx.SetConnectionClose()
	}
	c.ctx.SetReadDeadline(time.Time{})
}
