package proxy_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"farshore/dataplane/proxy"
	"farshore/dataplane/proxy/proxytest"
	"farshore/fault"
)

func TestRequestsGoThroughTheProxyWithItsPassword(t *testing.T) {
	far := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "here") }))
	defer far.Close()
	p := proxytest.Start(t)
	get := func(c *proxy.Config) (string, error) {
		through, err := c.Dialled()
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: &http.Transport{Proxy: through, TLSClientConfig: far.Client().Transport.(*http.Transport).TLSClientConfig}}
		defer client.CloseIdleConnections()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, far.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		body, err := io.ReadAll(answer.Body)
		return string(body), err
	}
	good := p.Config(t)
	if body, err := get(good); err != nil || body != "here" {
		t.Errorf("%q, %v", body, err)
	}
	wrong := p.Config(t)
	if err := os.WriteFile(wrong.PasswordFile, []byte("another"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(wrong); err == nil || !strings.Contains(err.Error(), "Proxy Authentication Required") {
		t.Errorf("a wrong password: %v", err)
	}
	good.Direct = []string{"127.0.0.1"}
	if body, err := get(good); err != nil || body != "here" {
		t.Errorf("direct: %q, %v", body, err)
	}
	if tunnels, _, refused := p.Counts(); tunnels != 1 || refused != 1 {
		t.Errorf("%d tunnels, %d refused; want 1 and 1: what is direct passes it by", tunnels, refused)
	}
	if through, err := (*proxy.Config)(nil).Dialled(); through != nil || err != nil {
		t.Errorf("no configuration: %v", err)
	}
}

func TestAConnectionIsTunnelledOrDirectAndSaysWhyNot(t *testing.T) {
	far := httptest.NewTLSServer(http.NotFoundHandler())
	defer far.Close()
	address := far.Listener.Addr().String()
	p := proxytest.Start(t)
	dial := func(change func(*proxy.Config)) error {
		c := p.Config(t)
		change(c)
		through, err := c.Dialled()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := proxy.Dial(t.Context(), &net.Dialer{}, through, address)
		if err != nil {
			return err
		}
		defer raw.Close()
		trust := far.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
		trust.ServerName = "example.com"
		return tls.Client(raw, trust).HandshakeContext(t.Context())
	}
	if err := dial(func(*proxy.Config) {}); err != nil {
		t.Errorf("through the proxy: %v", err)
	}
	if err := dial(func(c *proxy.Config) { c.User, c.PasswordFile = "", "" }); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("%v: want the proxy's refusal", err)
	}
	if err := dial(func(c *proxy.Config) { c.Direct = []string{"127.0.0.1"} }); err != nil {
		t.Errorf("directly: %v", err)
	}
	if tunnels, _, refused := p.Counts(); tunnels != 1 || refused != 1 {
		t.Errorf("%d tunnels, %d refused; want 1 and 1: what is direct passes it by", tunnels, refused)
	}
}

func TestWhatIsWrongWithAConfigurationIsSaid(t *testing.T) {
	open := proxytest.Start(t).Config(t).PasswordFile
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	rows := map[string]proxy.Config{
		"is not http://":     {URL: "proxy:3128"},
		"holds a password":   {URL: "http://me:secret@proxy:3128"},
		"belong together":    {URL: "http://proxy:3128", User: "me"},
		"others than its ow": {URL: "http://proxy:3128", User: "me", PasswordFile: open},
	}
	for want, c := range rows {
		_, err := c.Dialled()
		if f, ok := fault.As(err); !ok || f.Code != "FS-2108" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", want, err)
		}
	}
}
