// Command lab is one binary with the real servers of a Kubernetes cluster, so
// that tests can run against them with nothing downloaded but Go modules.
//
//	lab etcd [flags]                     lab kubelet [flags]
//	lab kube-apiserver [flags]           lab kubectl [args]
//	lab kube-controller-manager [flags]  lab kube-scheduler [flags]
//	lab kube-proxy [flags]
//	lab image [flags]                    write an OCI image archive from static files
//	lab transcode                        Kubernetes' own JSON and protobuf, a line each
//	lab filterbench [args]               what a filter costs a program made of client-go
//
// It dispatches on its first argument, or on the name it was started under.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"holdfast.dev/lab/filterbench"
	"holdfast.dev/lab/image"
	"holdfast.dev/lab/transcode"
)

// programs are started with os.Args[0] set to their own name.
var programs = map[string]func() int{
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"kube-apiserver":          cobraProgram(apiserver.NewAPIServerCommand),
	"kube-controller-manager": cobraProgram(controllermanager.NewControllerManagerCommand),
	"kube-scheduler":          cobraProgram(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	// The kubelet's command installs its own signal handler; a second one panics.
	"kubelet": cobraProgram(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"kubectl": func() int {
		if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
			kubectlutil.CheckErr(err)
		}
		return 0
	},
	"kube-proxy":  cobraProgram(proxy.NewProxyCommand),
	"image":       func() int { return image.Main(os.Args[1:]) },
	"transcode":   transcode.Main,
	"filterbench": func() int { return filterbench.Main(os.Args[1:]) },
}

func cobraProgram(command func() *cobra.Command) func() int {
	return func() int { return cli.Run(command()) }
}

func main() {
	run, ok := programs[filepath.Base(os.Args[0])]
	if !ok && len(os.Args) > 1 {
		run, ok = programs[os.Args[1]]
		os.Args = os.Args[1:]
	}
	if !ok {
		names := make([]string, 0, len(programs))
		for name := range programs {
			names = append(names, name)
		}
		sort.Strings(names)
		fmt.Fprintf(os.Stderr, "usage: lab %s ...\n", strings.Join(names, "|"))
		os.Exit(64)
	}
	os.Exit(run())
}
