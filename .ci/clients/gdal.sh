#!/usr/bin/env bash
# GDAL against a waxseal: rasters and vectors written in parts and read by ranges through /vsis3/.
# needs: gdal_translate gdalinfo gdalmanage ogr2ogr aws
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
begin
export AWS_S3_ENDPOINT=${S3#*://} AWS_VIRTUAL_HOSTING=FALSE AWS_HTTPS=NO VSIS3_CHUNK_SIZE=5 CPL_VSIL_USE_TEMP_FILE_FOR_RANDOM_WRITE=YES
export CPL_TMPDIR=$WORK
# GDAL 3.6 looks at no CURL_CA_BUNDLE when it reads.
case $S3 in https:*) export AWS_HTTPS=YES GDAL_HTTP_UNSAFESSL=YES ;; esac
BUCKET=gdal-$RANDOM-$$
aws s3api create-bucket --endpoint-url "$S3" --bucket "$BUCKET" >/dev/null

checksum() { gdalinfo -checksum "$1" | grep -o 'Checksum=.*'; }

# A grey picture of random bytes: 4,000 lines of 4,000, in three parts.
random_file "$WORK/bytes" 16000000
{ printf 'P5\n4000 4000\n255\n' && cat "$WORK/bytes"; } >"$WORK/picture.pgm"
want=$(checksum "$WORK/picture.pgm")
gdal_translate -q "$WORK/picture.pgm" "/vsis3/$BUCKET/rasters/plain.tif"
same "$(checksum "/vsis3/$BUCKET/rasters/plain.tif")" "$want" "the pixels of the GeoTIFF"
gdal_translate -q -of COG -co COMPRESS=DEFLATE "$WORK/picture.pgm" "/vsis3/$BUCKET/rasters/cloud optimized.tif"
same "$(checksum "/vsis3/$BUCKET/rasters/cloud optimized.tif")" "$want" "the pixels of the cloud optimized GeoTIFF"
aws s3api head-object --endpoint-url "$S3" --bucket "$BUCKET" --key rasters/plain.tif --query ETag --output text | grep -q -- '-[34]"$' ||
	fail "the GeoTIFF was not uploaded in parts"

# A window, and an overview, are ranges of the object.
gdal_translate -q -srcwin 1234 3210 500 400 "$WORK/picture.pgm" "$WORK/window.tif"
gdal_translate -q -srcwin 1234 3210 500 400 "/vsis3/$BUCKET/rasters/cloud optimized.tif" "$WORK/window-back.tif"
same "$(checksum "$WORK/window-back.tif")" "$(checksum "$WORK/window.tif")" "a window"
gdal_translate -q -outsize 10% 10% "/vsis3/$BUCKET/rasters/cloud optimized.tif" "$WORK/overview.tif"

# Vectors, and a directory of them.
printf '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"name":"%s"},"geometry":{"type":"Point","coordinates":[1,2]}}]}' \
	"$PLAINTEXT" >"$WORK/points.json"
ogr2ogr -f GeoJSON "/vsis3/$BUCKET/vectors/points.json" "$WORK/points.json"
ogr2ogr -f FlatGeobuf "/vsis3/$BUCKET/vectors/points.fgb" "/vsis3/$BUCKET/vectors/points.json"
ogr2ogr -f GeoJSON /vsistdout/ "/vsis3/$BUCKET/vectors/points.fgb" | grep -qF "$PLAINTEXT" || fail "the point has lost its name"
gdalmanage identify -r "/vsis3/$BUCKET/rasters" | tee "$WORK/identified"
same "$(grep -c GTiff "$WORK/identified")" 2 "rasters that a listing finds"
gdalmanage rename "/vsis3/$BUCKET/rasters/plain.tif" "/vsis3/$BUCKET/rasters/renamed.tif"
same "$(checksum "/vsis3/$BUCKET/rasters/renamed.tif")" "$want" "the pixels after a rename"
gdalmanage delete "/vsis3/$BUCKET/rasters/renamed.tif"
refused 404 aws s3api head-object --endpoint-url "$S3" --bucket "$BUCKET" --key rasters/renamed.tif
finish gdal
