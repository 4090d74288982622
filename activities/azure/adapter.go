package azure

import (
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/network/armnetwork/v9"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources/v3"
	"go.temporal.io/sdk/worker"

	"farshore/activities"
)

// Config says which subscription to use and how to reach it.
type Config struct {
	Subscription     string `yaml:"subscription"`
	StorageAccountID string `yaml:"storageAccountId"` // resource id of the vault's account: Import needs it
	// Endpoint is another resource manager than Azure's public one. Plain HTTP is for the lab only: tokens are not protected.
	Endpoint string `yaml:"endpoint,omitempty"`
	// PollEvery is the time between two looks at an operation when the service names none; 0 means 2 s.
	PollEvery time.Duration `yaml:"pollEvery,omitempty"`
	// ProcessServer says what temporary process servers are made of; nil: there are none.
	ProcessServer *ProcessServerConfig `yaml:"processServer,omitempty"`
}

// Adapter implements the steps in the cloud.
type Adapter struct {
	config    Config
	groups    *armresources.ResourceGroupsClient
	resources *armresources.Client
	tags      *armresources.TagsClient
	network   *armnetwork.ClientFactory
	compute   *armcompute.ClientFactory
	http      *http.Client
	nodes     Nodes
}

const (
	defaultPollEvery = 2 * time.Second
	// serialTimeout bounds one fetch of a serial console.
	serialTimeout = 30 * time.Second
)

// New makes the adapter. It makes no request.
func New(config Config, credential azcore.TokenCredential) (*Adapter, error) {
	if config.PollEvery == 0 {
		config.PollEvery = defaultPollEvery
	}
	// Registration of resource providers is the subscription owner's business: the adapter's role does not include it.
	options := &arm.ClientOptions{DisableRPRegistration: true}
	if config.Endpoint != "" {
		options.InsecureAllowCredentialWithHTTP = true
		options.Cloud = cloud.Configuration{
			ActiveDirectoryAuthorityHost: cloud.AzurePublic.ActiveDirectoryAuthorityHost,
			Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
				cloud.ResourceManager: {Audience: "https://management.azure.com", Endpoint: config.Endpoint},
			},
		}
	}
	a := &Adapter{config: config, http: &http.Client{Timeout: serialTimeout}}
	if err := a.connect(credential, options); err != nil {
		return nil, fmt.Errorf("prepare the clients of subscription %s: %w", config.Subscription, err)
	}
	return a, nil
}

func (a *Adapter) connect(credential azcore.TokenCredential, options *arm.ClientOptions) (err error) {
	subscription := a.config.Subscription
	if a.groups, err = armresources.NewResourceGroupsClient(subscription, credential, options); err != nil {
		return err
	}
	if a.resources, err = armresources.NewClient(subscription, credential, options); err != nil {
		return err
	}
	if a.tags, err = armresources.NewTagsClient(subscription, credential, options); err != nil {
		return err
	}
	if a.network, err = armnetwork.NewClientFactory(subscription, credential, options); err != nil {
		return err
	}
	a.compute, err = armcompute.NewClientFactory(subscription, credential, options)
	return err
}

// Serve registers the steps.
func (a *Adapter) Serve(r worker.ActivityRegistry) {
	activities.Preflight.Serve(r, a.preflight)
	activities.EnsureTestNetwork.Serve(r, a.ensureTestNetwork)
	activities.CreateDisks.Serve(r, a.createDisks)
	activities.CreateNIC.Serve(r, a.createNIC)
	activities.CreateVM.Serve(r, a.createVM)
	activities.AwaitBoot.Serve(r, a.awaitBoot)
	activities.ListRun.Serve(r, a.listRun)
	activities.DeleteRun.Serve(r, a.deleteRun)
	activities.KeepRun.Serve(r, a.keepRun)
	activities.UnkeepRun.Serve(r, a.unkeepRun)
	activities.StopVM.Serve(r, a.stopVM)
	activities.StartVM.Serve(r, a.startVM)
	activities.CheckPath.Serve(r, a.checkPath)
	activities.EnsureProcessServer.Serve(r, a.ensureProcessServer)
}

// tagMap gives a run's tags in the clients' form.
func tagMap(p activities.Place) map[string]*string {
	tags := map[string]*string{}
	for k, v := range p.Run.Tags(p.Target) {
		tags[k] = &v
	}
	return tags
}
