// Reads the store that OLLAMA_MODELS names with Ollama's own code, as `ollama list` and `ollama create` do.
package main

import (
	"encoding/json"
	"os"

	"github.com/ollama/ollama/format"
	"github.com/ollama/ollama/fs/ggml"
	"github.com/ollama/ollama/manifest"
	"github.com/ollama/ollama/types/model"
)

type listed struct {
	Name, Digest string
	Size         int64
	Config       model.ConfigV2
	Made         model.ConfigV2
}

func check(err error) {
	if err != nil {
		os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}

func main() {
	manifests, err := manifest.Manifests(false)
	check(err)
	models := []listed{}
	for name, m := range manifests {
		entry := listed{Name: name.DisplayShortest(), Digest: m.Digest(), Size: m.Size()}
		config, err := m.Config.Open()
		check(err)
		check(json.NewDecoder(config).Decode(&entry.Config))
		for _, layer := range m.Layers {
			if layer.MediaType != "application/vnd.ollama.image.model" {
				continue
			}
			weights, err := layer.Open()
			check(err)
			read, err := ggml.Decode(weights, -1)
			check(err)
			entry.Made.ModelFormat = read.Name()
			entry.Made.ModelFamily = read.KV().Architecture()
			entry.Made.ModelType = format.HumanNumber(read.KV().ParameterCount())
			entry.Made.FileType = read.KV().FileType().String()
		}
		models = append(models, entry)
	}
	check(json.NewEncoder(os.Stdout).Encode(models))
}
