package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// chromium is a browser without a window, driven by chromedriver in the protocol of W3C WebDriver.
type chromium struct {
	t       *testing.T
	session string // URL
}

func startChromium(t *testing.T) *chromium {
	t.Helper()
	driver, err := exec.LookPath("chromedriver")
	if err != nil {
		t.Skip("chromedriver is absent: Debian's package chromium-driver has it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(driver, "--port="+port)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	c := &chromium{t: t, session: "http://" + address}
	for i := 0; ; i++ {
		if resp, err := http.Get(c.session + "/status"); err == nil {
			_ = resp.Body.Close()
			break
		}
		if i == 200 {
			t.Fatal("chromedriver does not answer")
		}
		time.Sleep(50 * time.Millisecond)
	}
	var begun struct{ SessionID string }
	c.ask("POST", "/session", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName": "chrome",
		"goog:chromeOptions": map[string]any{"args": []string{"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
			"--user-data-dir=" + t.TempDir()}}}}}, &begun)
	c.session += "/session/" + begun.SessionID
	t.Cleanup(func() { c.ask("DELETE", "", nil, nil) })
	return c
}

// ask sends a command and decodes its result.
func (c *chromium) ask(method, path string, in, out any) {
	c.t.Helper()
	if problem := c.try(method, path, in, out); problem != "" {
		c.t.Fatalf("%s %s: %s", method, path, problem)
	}
}

// try sends a command that may fail, and returns the browser's error.
func (c *chromium) try(method, path string, in, out any) (problem string) {
	c.t.Helper()
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			c.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, c.session+path, body)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ Value json.RawMessage }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		return string(answer.Value)
	}
	if out != nil {
		if err := json.Unmarshal(answer.Value, out); err != nil {
			c.t.Fatal(err)
		}
	}
	return ""
}

func (c *chromium) open(url string) {
	c.t.Helper()
	c.ask("POST", "/url", map[string]string{"url": url}, nil)
}

// element finds an element by an XPath.
func (c *chromium) element(path string) string {
	c.t.Helper()
	found := map[string]string{}
	c.ask("POST", "/element", map[string]string{"using": "xpath", "value": path}, &found)
	for _, id := range found {
		return "/element/" + id
	}
	c.t.Fatalf("no element %s", path)
	return ""
}

func (c *chromium) click(path string) {
	c.t.Helper()
	c.ask("POST", c.element(path)+"/click", map[string]any{}, nil)
}

// follow clicks on a link and waits for the next page: the former page's elements are gone then.
func (c *chromium) follow(path string) {
	c.t.Helper()
	former := c.element("/html")
	c.click(path)
	for range 200 {
		if problem := c.try("GET", former+"/name", nil, nil); strings.Contains(problem, "stale") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%s leads nowhere", path)
}

func (c *chromium) enter(path, text string) {
	c.t.Helper()
	e := c.element(path)
	c.ask("POST", e+"/clear", map[string]any{}, nil)
	c.ask("POST", e+"/value", map[string]string{"text": text}, nil)
}

// text returns the visible text of an element.
func (c *chromium) text(path string) (text string) {
	c.t.Helper()
	c.ask("GET", c.element(path)+"/text", nil, &text)
	return text
}

// want looks for words on the page.
func (c *chromium) want(words ...string) {
	c.t.Helper()
	page := c.text("//body")
	for _, w := range words {
		if !strings.Contains(page, w) {
			c.t.Errorf("no %q on the page:\n%s", w, page)
		}
	}
}

// devtools sends a command of the DevTools protocol.
func (c *chromium) devtools(command string, params map[string]any, out any) {
	c.t.Helper()
	c.ask("POST", "/goog/cdp/execute", map[string]any{"cmd": command, "params": params}, out)
}

// show sets the width of the page, and light or dark colours.
func (c *chromium) show(width int, scheme string) {
	c.t.Helper()
	c.devtools("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	c.devtools("Emulation.setEmulatedMedia", map[string]any{"features": []map[string]string{{"name": "prefers-color-scheme", "value": scheme}}}, nil)
}

// fits fails when the page is wider than the window: a person would scroll sideways.
func (c *chromium) fits(name string) {
	c.t.Helper()
	var wide []int
	c.ask("POST", "/execute/sync", map[string]any{"script": "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]", "args": []any{}}, &wide)
	if wide[0] > wide[1] {
		c.t.Errorf("%s is %d wide in a window of %d", name, wide[0], wide[1])
	}
}

// picture saves a screenshot in the directory WAXSEAL_SCREENSHOTS.
func (c *chromium) picture(name string) {
	c.t.Helper()
	dir := os.Getenv("WAXSEAL_SCREENSHOTS")
	if dir == "" {
		return
	}
	var out struct{ Data string }
	c.devtools("Page.captureScreenshot", map[string]any{"format": "png", "captureBeyondViewport": true}, &out)
	data, err := base64.StdEncoding.DecodeString(out.Data)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), data, 0o644)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// pictures looks at a page in every width and colour.
func (c *chromium) pictures(name string) {
	c.t.Helper()
	for _, width := range []int{1280, 390} {
		for _, scheme := range []string{"light", "dark"} {
			c.show(width, scheme)
			c.fits(fmt.Sprintf("%s at %d", name, width))
			c.picture(fmt.Sprintf("%s-%d-%s", name, width, scheme))
		}
	}
	c.show(1280, "light")
}
