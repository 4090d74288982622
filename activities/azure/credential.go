package azure

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"farshore/fault"
)

// CredentialConfig says as whom the configuration server speaks to Azure. The default chain of the SDK is not used: a
// daemon must not probe for identities.
type CredentialConfig struct {
	Kind        string `yaml:"kind"`                  // "managed-identity", "certificate" or "lab"
	ClientID    string `yaml:"clientId,omitempty"`    // certificate; with managed-identity: a user-assigned one
	TenantID    string `yaml:"tenantId,omitempty"`    // certificate
	Certificate string `yaml:"certificate,omitempty"` // file with certificate and key, PEM or PKCS #12
}

// Credential makes the credential. Errors are faults (FS-5004).
func (c CredentialConfig) Credential(endpoint string) (azcore.TokenCredential, error) {
	switch c.Kind {
	case "managed-identity":
		options := &azidentity.ManagedIdentityCredentialOptions{}
		if c.ClientID != "" {
			options.ID = azidentity.ClientID(c.ClientID)
		}
		credential, err := azidentity.NewManagedIdentityCredential(options)
		return credential, badCredential(err, "the managed identity cannot be used")
	case "certificate":
		return c.certificate()
	case "lab":
		if !strings.HasPrefix(endpoint, "http://127.0.0.1:") {
			return nil, badCredential(fmt.Errorf("endpoint is %q", endpoint), "the lab credential is for a resource manager on 127.0.0.1 only")
		}
		return labCredential{}, nil
	}
	return nil, badCredential(fmt.Errorf("kind is %q", c.Kind), "the credential's kind must be managed-identity, certificate or lab")
}

func (c CredentialConfig) certificate() (azcore.TokenCredential, error) {
	pem, err := os.ReadFile(c.Certificate)
	if err != nil {
		return nil, badCredential(err, "the certificate cannot be read")
	}
	chain, key, err := azidentity.ParseCertificates(pem, nil)
	if err != nil {
		return nil, badCredential(err, "the certificate cannot be understood")
	}
	credential, err := azidentity.NewClientCertificateCredential(c.TenantID, c.ClientID, chain, key, nil)
	return credential, badCredential(err, "the certificate cannot be used")
}

func badCredential(err error, what string) error {
	if err == nil {
		return nil
	}
	return &fault.Fault{
		Code: "FS-5004", Kind: fault.Operator, Subject: "configuration azure.credential", What: what,
		Remedy: "correct azure.credential in the configuration file; docs/operate/azure.md shows each kind", Err: err,
	}
}

// labCredential is for the lab's resource manager, which asks only for some token.
type labCredential struct{}

func (labCredential) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "lab", ExpiresOn: time.Now().Add(time.Hour)}, nil
}
