{{/* What would not work, said before it is tried. */}}
{{- define "plinth.limits" -}}
{{- $most := int .it.replicas -}}
{{- with and .Values.autoscaling.enabled .it.autoscaling -}}
{{- $most = int .max -}}
{{- if gt (int .min) $most }}{{ fail (printf "%s: autoscaling from %d to %d replicas" $.name (int .min) $most) }}{{ end -}}
{{- end -}}
{{- if and .it.partitions (gt $most (int .it.partitions)) -}}
{{- fail (printf "%s: %d replicas, but its topics have %d partitions: the others would idle" .name $most (int .it.partitions)) -}}
{{- end -}}
{{- if and .it.single (gt $most 1) -}}
{{- fail (printf "%s: one replica only, since %d would not know of each other; run a cluster elsewhere and say `external: true`" .name $most) -}}
{{- end -}}
{{- if ge (int .it.preStopSeconds) (int .it.graceSeconds) -}}
{{- fail (printf "%s: graceSeconds must be above preStopSeconds" .name) -}}
{{- end -}}
{{- if ne (len .it.ports) (values .it.ports | uniq | len) -}}
{{- fail (printf "%s: two ports have the same number" .name) -}}
{{- end -}}
{{- if or (hasKey .Values.jobs .name) (and (hasSuffix "-pods" .name) (hasKey .Values.components (trimSuffix "-pods" .name))) -}}
{{- fail (printf "%s: another object has this name" .name) -}}
{{- end -}}
{{- $http := list -}}
{{- range .it.probes }}{{ if hasPrefix "/" (toString .) }}{{ $http = append $http "probes" }}{{ end }}{{ end -}}
{{- if .it.metrics }}{{ $http = append $http "metrics" }}{{ end -}}
{{- if .it.ingress }}{{ $http = append $http "ingress" }}{{ end -}}
{{- if .it.page }}{{ $http = append $http "page" }}{{ end -}}
{{- if and $http (not (hasKey .it.ports "http")) -}}
{{- fail (printf "%s: ports.http is needed by %s" .name (uniq $http | join " and ")) -}}
{{- end -}}
{{- with .it.ingress -}}
{{- if not (or .tlsSecret .plain) }}{{ fail (printf "%s: ingress needs tlsSecret, or plain: true where TLS ends elsewhere" $.name) }}{{ end -}}
{{- end -}}
{{- if and .Values.monitoring.operator .Values.networkPolicy.enabled (not .Values.monitoring.from) -}}
{{- fail "monitoring.from: who may read the metrics, e.g. [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]" -}}
{{- end -}}
{{- end -}}

{{/* The one source of each mount, and one mount of each name. */}}
{{- define "plinth.sources" -}}
{{- $volumes := dict -}}
{{- range $path, $source := .it.mounts -}}
{{- $sources := keys (omit $source "keys" "data") | sortAlpha -}}
{{- if and (hasKey $source "data") (not (hasKey $source "files")) }}{{ $sources = append $sources "data" }}{{ end -}}
{{- if gt (len $sources) 1 -}}
{{- fail (printf "%s: %s has %s: set to null what the chart gives it and you replace" $.name $path (join " and " $sources)) -}}
{{- end -}}
{{- if and $source.files (not ($.Files.Glob $source.files)) }}{{ fail (printf "%s: %s: no file is called %s" $.name $path $source.files) }}{{ end -}}
{{- $volume := include "plinth.volume" $path -}}
{{- with get $volumes $volume }}{{ fail (printf "%s: %s and %s would be one volume" $.name . $path) }}{{ end -}}
{{- $_ := set $volumes $volume $path -}}
{{- end -}}
{{- end -}}

{{/* Made secrets are not made anew where something was made with them. Of a cluster that is not asked, nothing is known. */}}
{{- define "plinth.secretsAreThere" -}}
{{- $namespace := .Release.Namespace -}}
{{- if and (not .Values.secrets.server) (lookup "v1" "ServiceAccount" $namespace "default") (not (lookup "v1" "Secret" $namespace "server-secrets")) -}}
{{- if .Release.IsUpgrade -}}
{{- fail "the Secret server-secrets is gone, or was never made: `helm rollback` to the last revision brings it back; or name your own in secrets.server" -}}
{{- end -}}
{{- $postgres := .Values.components.postgres -}}
{{- if and $postgres (include "plinth.runs" $postgres) (lookup "v1" "PersistentVolumeClaim" $namespace "var-lib-postgresql-data-postgres-0") -}}
{{- fail "the Secret server-secrets is gone, but Postgres' volume is kept and knows its password: put the Secret back, or delete the claim var-lib-postgresql-data-postgres-0 and its data" -}}
{{- end -}}
{{- end -}}
{{- end -}}
